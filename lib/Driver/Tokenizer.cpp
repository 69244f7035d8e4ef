//===- Tokenizer.cpp - Text to token ids and back -------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Tokenizer.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/ConvertUTF.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include <queue>

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

/// llama2.c puts <unk>, BOS and EOS first, then the 256 byte tokens.
static constexpr int64_t kFirstByteToken = 3;

Tokenizer Tokenizer::bytes() {
  Tokenizer tokenizer;
  tokenizer.byteLevel = true;
  return tokenizer;
}

static Error badFile(StringRef path, const llvm::Twine &what) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 path + ": " + what + " [FFN-D201]");
}

Expected<Tokenizer> Tokenizer::load(StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return badFile(path, buffer.getError().message());
  Expected<llvm::json::Value> json = llvm::json::parse((*buffer)->getBuffer());
  if (!json)
    return badFile(path, "not JSON: " + llvm::toString(json.takeError()));
  const llvm::json::Object *object = json->getAsObject();
  const llvm::json::Array *hex =
      object ? object->getArray("pieces_hex") : nullptr;
  const llvm::json::Array *scores =
      object ? object->getArray("scores") : nullptr;
  if (!hex || !scores || hex->size() != scores->size() || hex->empty())
    return badFile(path, "needs the lists pieces_hex and scores, equally long");
  Tokenizer tokenizer;
  for (auto [i, value] : llvm::enumerate(*hex)) {
    std::optional<StringRef> text = value.getAsString();
    std::string piece;
    if (!text || !llvm::tryGetFromHex(*text, piece))
      return badFile(path, "piece " + llvm::Twine(i) + " is not a hex string");
    std::optional<double> score = (*scores)[i].getAsNumber();
    if (!score)
      return badFile(path, "score " + llvm::Twine(i) + " is not a number");
    // The first id of a spelling wins; special tokens are no spelling.
    if (static_cast<int64_t>(i) >= kFirstByteToken)
      tokenizer.index.try_emplace(piece, i);
    tokenizer.pieces.push_back(std::move(piece));
    tokenizer.scores.push_back(*score);
  }
  tokenizer.vocabularySize = tokenizer.pieces.size();
  tokenizer.byteFallback = object->getBoolean("byte_fallback").value_or(false);
  tokenizer.collapseWhitespace =
      object->getBoolean("collapse_whitespace").value_or(false);
  tokenizer.space = object->getString("space").value_or(" ").str();
  auto readId = [&](StringRef key, int64_t otherwise) -> int64_t {
    std::optional<int64_t> id = object->getInteger(key);
    return id && *id >= 0 && *id < tokenizer.vocabularySize ? *id : otherwise;
  };
  tokenizer.bosId = readId("bos", -1);
  tokenizer.eosId = readId("eos", -1);
  tokenizer.unknownId = readId("unk", 0);
  if (tokenizer.byteFallback &&
      tokenizer.vocabularySize < kFirstByteToken + 256)
    return badFile(path, "byte_fallback needs 256 byte tokens from id 3");
  return tokenizer;
}

/// Leading and trailing blanks dropped, runs of blanks made one.
static std::string collapse(StringRef text) {
  std::string out;
  for (StringRef rest = text; !rest.empty();) {
    auto [word, tail] = rest.split(' ');
    rest = tail;
    if (word.empty())
      continue;
    if (!out.empty())
      out += ' ';
    out += word;
  }
  return out;
}

std::vector<int64_t> Tokenizer::encode(StringRef text, bool bos) const {
  std::vector<int64_t> ids;
  if (byteLevel) {
    for (unsigned char byte : text.bytes())
      ids.push_back(byte);
    return ids;
  }
  std::string owned = collapseWhitespace ? collapse(text) : text.str();
  if (!owned.empty())
    owned.insert(owned.begin(), ' ');
  for (size_t i = 0; i < owned.size();) {
    size_t length = std::min<size_t>(
        llvm::getNumBytesForUTF8(static_cast<llvm::UTF8>(owned[i])),
        owned.size() - i);
    StringRef character = StringRef(owned).substr(i, length);
    i += length;
    auto found = index.find(character == " " ? StringRef(space) : character);
    if (found != index.end()) {
      ids.push_back(found->second);
    } else if (byteFallback) {
      for (unsigned char byte : character.bytes())
        ids.push_back(byte + kFirstByteToken);
    } else if (ids.empty() || ids.back() != unknownId) {
      ids.push_back(unknownId);
    }
  }

  // Greedy merges, best score first, leftmost among equals: a heap over a
  // linked list, so that long documents stay n log n.
  struct Node {
    int64_t id;
    int previous, next;
  };
  struct Merge {
    double score;
    int left;
    int64_t leftId, rightId, merged;
    bool operator<(const Merge &other) const {
      return score != other.score ? score < other.score : left > other.left;
    }
  };
  std::vector<Node> nodes;
  for (int i = 0, n = ids.size(); i < n; ++i)
    nodes.push_back({ids[i], i - 1, i + 1 < n ? i + 1 : -1});
  std::priority_queue<Merge> heap;
  auto propose = [&](int left) {
    if (left < 0 || nodes[left].next < 0)
      return;
    int64_t a = nodes[left].id, b = nodes[nodes[left].next].id;
    auto found = index.find(pieces[a] + pieces[b]);
    if (found != index.end())
      heap.push({scores[found->second], left, a, b, found->second});
  };
  for (int i = 0, n = nodes.size(); i + 1 < n; ++i)
    propose(i);
  while (!heap.empty()) {
    Merge merge = heap.top();
    heap.pop();
    Node &left = nodes[merge.left];
    if (left.id != merge.leftId || left.next < 0 ||
        nodes[left.next].id != merge.rightId)
      continue;
    int right = left.next;
    left.id = merge.merged;
    left.next = nodes[right].next;
    nodes[right].id = -1;
    if (left.next >= 0)
      nodes[left.next].previous = merge.left;
    propose(left.previous);
    propose(merge.left);
  }
  std::vector<int64_t> out;
  if (bos && bosId >= 0)
    out.push_back(bosId);
  for (int i = nodes.empty() ? -1 : 0; i >= 0; i = nodes[i].next)
    out.push_back(nodes[i].id);
  return out;
}

std::string Tokenizer::piece(int64_t id) const {
  if (byteLevel)
    return id >= 0 && id < 256 ? std::string(1, static_cast<char>(id))
                               : std::string();
  if (id < 0 || id >= vocabularySize || id == bosId || id == eosId)
    return {};
  if (byteFallback && id >= kFirstByteToken && id < kFirstByteToken + 256)
    return std::string(1, static_cast<char>(id - kFirstByteToken));
  if (space == " " || space.empty())
    return pieces[id];
  std::string out;
  for (StringRef rest = pieces[id]; !rest.empty();) {
    size_t at = rest.find(space);
    out += rest.take_front(at);
    if (at == StringRef::npos)
      break;
    out += ' ';
    rest = rest.drop_front(at + space.size());
  }
  return out;
}

std::string Tokenizer::decode(llvm::ArrayRef<int64_t> ids) const {
  std::string out;
  for (int64_t id : ids)
    out += piece(id);
  // The encoder puts one blank in front of every text.
  if (!byteLevel && !out.empty() && out.front() == ' ')
    out.erase(out.begin());
  return out;
}
