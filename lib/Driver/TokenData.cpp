//===- TokenData.cpp - Evaluation and calibration text --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/TokenData.h"
#include "ffn-mlir/Driver/HostTensor.h"
#include "ffn-mlir/Support/Json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

static constexpr StringRef kSeparator = "<|endoftext|>";

static Error badFile(StringRef path, const llvm::Twine &what) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 path + ": " + what);
}

static Error readTokens(StringRef path, StringRef text, TokenData &data) {
  // A list of lists.
  if (nestsDeeper(text, 2))
    return badFile(path, "needs a list of token-id lists [FFN-D202]");
  Expected<llvm::json::Value> json = llvm::json::parse(text);
  if (!json)
    return badFile(path, "not JSON: " + llvm::toString(json.takeError()) +
                             " [FFN-D202]");
  const llvm::json::Array *documents = json->getAsArray();
  if (!documents)
    return badFile(path, "needs a list of token-id lists [FFN-D202]");
  for (const llvm::json::Value &value : *documents) {
    const llvm::json::Array *list = value.getAsArray();
    if (!list)
      return badFile(path, "needs a list of token-id lists [FFN-D202]");
    std::vector<int64_t> ids;
    for (const llvm::json::Value &element : *list) {
      std::optional<int64_t> id = element.getAsInteger();
      if (!id || *id < 0)
        return badFile(path, "a token id is not a whole number [FFN-D202]");
      ids.push_back(*id);
    }
    data.documents.push_back(std::move(ids));
  }
  return Error::success();
}

/// Ids without anything around them, as one document.
template <typename Id>
static Error readRawTokens(StringRef path, StringRef bytes, TokenData &data) {
  if (bytes.size() % sizeof(Id) != 0)
    return badFile(path, llvm::Twine(bytes.size()) + " bytes are no ids of " +
                             llvm::Twine(sizeof(Id)) +
                             " bytes each [FFN-D202]");
  std::vector<int64_t> ids(bytes.size() / sizeof(Id));
  for (auto [i, id] : llvm::enumerate(ids))
    id = llvm::support::endian::read<Id, llvm::endianness::little>(
        bytes.data() + i * sizeof(Id));
  data.documents.push_back(std::move(ids));
  return Error::success();
}

/// Integers of rank 1, one document, or 2, a document a row.
static Error readArrayTokens(StringRef path, TokenData &data) {
  CodedErrors errors;
  llvm::FailureOr<NpyArray> array = readNpy(path, errors);
  if (failed(array))
    return badFile(path, errors.get().front().getMessage());
  size_t rank = array->shape.size();
  HostTensor ids;
  if (rank < 1 || rank > 2)
    return badFile(path, "token ids of rank " + llvm::Twine(rank) +
                             "; 1 or 2 is needed [FFN-D202]");
  if (Error error = ids.assign(*array, {0, 64, 1}, path))
    return error;
  llvm::ArrayRef<int64_t> rest = ids.as<int64_t>();
  if (llvm::any_of(rest, [](int64_t id) { return id < 0; }))
    return badFile(path, "a token id is negative [FFN-D202]");
  size_t length = rank == 1 ? rest.size() : array->shape[1];
  for (; !rest.empty(); rest = rest.drop_front(length))
    data.documents.emplace_back(rest.begin(), rest.begin() + length);
  return Error::success();
}

static Error readFile(StringRef path, const Tokenizer &tokenizer,
                      uint64_t maxDocuments, TokenData &data) {
  if (path.ends_with(".npy"))
    return readArrayTokens(path, data);
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return badFile(path, buffer.getError().message() + " [FFN-D203]");
  StringRef rest = (*buffer)->getBuffer();
  if (path.ends_with(".json"))
    return readTokens(path, rest, data);
  if (path.ends_with(".u16") || path.ends_with(".bin"))
    return readRawTokens<uint16_t>(path, rest, data);
  if (path.ends_with(".u32"))
    return readRawTokens<uint32_t>(path, rest, data);
  while (!rest.empty() &&
         (!maxDocuments || data.documents.size() < maxDocuments)) {
    size_t end = rest.find(kSeparator);
    StringRef document = rest.take_front(end);
    rest = end == StringRef::npos ? StringRef()
                                  : rest.drop_front(end + kSeparator.size());
    if (document.trim().empty())
      continue;
    document = document.trim('\n');
    data.bytes += document.size();
    data.characters += llvm::count_if(
        document.bytes(), [](uint8_t byte) { return (byte & 0xC0) != 0x80; });
    data.documents.push_back(tokenizer.encode(document));
  }
  return Error::success();
}

Expected<std::vector<std::string>> mlir::ffn::listDataFiles(StringRef path) {
  if (!llvm::sys::fs::is_directory(path))
    return std::vector<std::string>{path.str()};
  std::vector<std::string> files;
  std::error_code code;
  for (llvm::sys::fs::directory_iterator it(path, code), end;
       it != end && !code; it.increment(code))
    if (llvm::sys::fs::is_regular_file(it->path()))
      files.push_back(it->path());
  if (code)
    return badFile(path, code.message() + " [FFN-D203]");
  llvm::sort(files);
  return files;
}

Expected<TokenData> mlir::ffn::loadTokenData(StringRef path,
                                             const Tokenizer &tokenizer,
                                             uint64_t maxDocuments) {
  TokenData data;
  Expected<std::vector<std::string>> files = listDataFiles(path);
  if (!files)
    return files.takeError();
  for (const std::string &file : *files)
    if (Error error = readFile(file, tokenizer, maxDocuments, data))
      return std::move(error);
  if (maxDocuments && data.documents.size() > maxDocuments)
    data.documents.resize(maxDocuments);
  if (llvm::all_of(data.documents, [](const std::vector<int64_t> &ids) {
        return ids.size() < 2;
      }))
    return badFile(path, "holds no document of two tokens or more [FFN-D204]");
  return data;
}

std::vector<TokenWindow> mlir::ffn::makeWindows(const TokenData &data,
                                                size_t length, int64_t bos) {
  std::vector<TokenWindow> windows;
  length = std::max<size_t>(length, 1);
  for (const std::vector<int64_t> &ids : data.documents)
    for (size_t begin = 0; begin + 1 < ids.size(); begin += length) {
      TokenWindow window;
      size_t end = std::min(begin + length + 1, ids.size());
      window.ids.assign(ids.begin() + begin, ids.begin() + end);
      if (begin && bos >= 0)
        window.ids.front() = bos;
      windows.push_back(std::move(window));
    }
  return windows;
}

Expected<TokenData> mlir::ffn::loadWholeFile(StringRef path,
                                             const Tokenizer &tokenizer) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return badFile(path, buffer.getError().message() + " [FFN-D203]");
  StringRef text = (*buffer)->getBuffer();
  if (text.empty())
    return badFile(path, "is empty [FFN-D204]");
  TokenData data;
  data.bytes = text.size();
  data.characters = llvm::count_if(
      text.bytes(), [](uint8_t byte) { return (byte & 0xC0) != 0x80; });
  data.documents.push_back(tokenizer.encode(text));
  return data;
}

std::vector<TokenWindow> mlir::ffn::makeSlidingWindows(const TokenData &data,
                                                       size_t length,
                                                       size_t stride) {
  std::vector<TokenWindow> windows;
  length = std::max<size_t>(length, 1);
  stride = std::clamp<size_t>(stride, 1, length);
  for (const std::vector<int64_t> &ids : data.documents) {
    size_t begin = 0, scored = 0;
    while (scored + 1 < ids.size()) {
      size_t end = std::min(begin + length, ids.size() - 1);
      TokenWindow window;
      window.ids.assign(ids.begin() + begin, ids.begin() + end + 1);
      window.firstScored = scored - begin;
      windows.push_back(std::move(window));
      scored = end;
      begin += stride;
    }
  }
  return windows;
}
