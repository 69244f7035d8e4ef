//===- TokenData.cpp - Evaluation and calibration text --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/TokenData.h"
#include "llvm/ADT/STLExtras.h"
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

static Error readTokens(StringRef path, StringRef text,
                        const Tokenizer &tokenizer, TokenData &data) {
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

static Error readFile(StringRef path, const Tokenizer &tokenizer,
                      uint64_t maxDocuments, TokenData &data) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return badFile(path, buffer.getError().message() + " [FFN-D203]");
  StringRef rest = (*buffer)->getBuffer();
  if (path.ends_with(".json"))
    return readTokens(path, rest, tokenizer, data);
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

Expected<TokenData> mlir::ffn::loadTokenData(StringRef path,
                                             const Tokenizer &tokenizer,
                                             uint64_t maxDocuments) {
  TokenData data;
  std::vector<std::string> files;
  if (llvm::sys::fs::is_directory(path)) {
    std::error_code code;
    for (llvm::sys::fs::directory_iterator it(path, code), end;
         it != end && !code; it.increment(code))
      if (llvm::sys::fs::is_regular_file(it->path()))
        files.push_back(it->path());
    if (code)
      return badFile(path, code.message() + " [FFN-D203]");
    llvm::sort(files);
  } else {
    files.push_back(path.str());
  }
  for (const std::string &file : files)
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
