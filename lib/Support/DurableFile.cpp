//===- DurableFile.cpp - Files that survive a crash -----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/DurableFile.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <mutex>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llvm;
using namespace mlir::ffn;

std::error_code mlir::ffn::faultPoint(StringRef name) {
  static const char *const given = std::getenv("FFN_TEST_FAULT");
  if (!given)
    return {};
  StringRef fault = given;
  if (fault == "list") {
    errs() << "fault point " << name << '\n';
    return {};
  }
  static std::mutex mutex;
  static uint64_t calls = 0;
  auto [point, rest] = fault.split(':');
  auto [count, number] = rest.split(':');
  uint64_t wanted;
  if (point != name || count.getAsInteger(10, wanted))
    return {};
  std::lock_guard<std::mutex> lock(mutex);
  if (++calls != wanted)
    return {};
  int code = 0;
  if (number.empty() || number.getAsInteger(10, code)) {
    kill(getpid(), SIGKILL);
    pause();
  }
  return std::error_code(code, std::generic_category());
}

static Error cannotWrite(StringRef path, std::error_code code) {
  return createStringError(inconvertibleErrorCode(),
                           "cannot write '" + path + "': " + code.message() +
                               " [FFN-O101]");
}

static std::error_code lastError() {
  return std::error_code(errno, std::generic_category());
}

static std::error_code writeAll(int fd, ArrayRef<char> bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return lastError();
    bytes = bytes.drop_front(n);
  }
  return {};
}

/// A new name is on disk when its folder is.
static std::error_code syncFolder(StringRef path) {
  SmallString<256> folder = sys::path::parent_path(path);
  if (folder.empty())
    folder = ".";
  int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return lastError();
  std::error_code code;
  // Some file systems have no such operation for folders.
  if (::fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP)
    code = lastError();
  ::close(fd);
  return code;
}

Error mlir::ffn::writeFileDurably(
    StringRef path, StringRef point,
    function_ref<Error(function_ref<Error(ArrayRef<char>)>)> write) {
  std::string name = path.str();
  auto at = [&](StringRef step) { return faultPoint((point + step).str()); };
  if (std::error_code code = at(".open"))
    return cannotWrite(path, code);
  TemporaryPath temporary((path + ".tmp").str());
  int fd = ::open(temporary.get().c_str(),
                  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) {
    std::error_code code = lastError();
    temporary.release();
    return cannotWrite(path, code);
  }
  auto sink = [&](ArrayRef<char> bytes) -> Error {
    size_t half = bytes.size() / 2;
    std::error_code code = writeAll(fd, bytes.take_front(half));
    if (!code)
      code = at(".write");
    if (!code)
      code = writeAll(fd, bytes.drop_front(half));
    return code ? cannotWrite(path, code) : Error::success();
  };
  Error error = write(sink);
  if (!error) {
    std::error_code code = at(".sync");
    if (!code && ::fsync(fd) != 0)
      code = lastError();
    if (code)
      error = cannotWrite(path, code);
  }
  if (::close(fd) != 0 && !error)
    error = cannotWrite(path, lastError());
  if (!error) {
    std::error_code code = at(".rename");
    if (!code && ::rename(temporary.get().c_str(), name.c_str()) != 0)
      code = lastError();
    if (code)
      error = cannotWrite(path, code);
  }
  if (error)
    return error;
  temporary.release();
  std::error_code code = at(".renamed");
  if (!code)
    code = syncFolder(path);
  return code ? cannotWrite(path, code) : Error::success();
}

Journal::~Journal() {
  if (fd >= 0)
    ::close(fd);
}

Expected<std::unique_ptr<Journal>>
Journal::open(StringRef path, std::vector<std::string> &lines) {
  std::unique_ptr<Journal> journal(new Journal);
  journal->path = path.str();
  journal->fd =
      ::open(journal->path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (journal->fd < 0)
    return cannotWrite(path, lastError());
  if (::flock(journal->fd, LOCK_EX | LOCK_NB) != 0)
    return createStringError(inconvertibleErrorCode(),
                             "'" + path +
                                 "' is in use by another process [FFN-J102]");
  std::string text;
  char buffer[1 << 16];
  ssize_t n;
  while ((n = ::read(journal->fd, buffer, sizeof buffer)) > 0)
    text.append(buffer, n);
  if (n < 0)
    return cannotWrite(path, lastError());
  StringRef rest = text;
  size_t kept = 0;
  for (size_t end; (end = rest.find('\n')) != StringRef::npos;) {
    lines.push_back(rest.take_front(end).str());
    rest = rest.drop_front(end + 1);
    kept += end + 1;
  }
  if (::ftruncate(journal->fd, kept) != 0 ||
      ::lseek(journal->fd, kept, SEEK_SET) < 0)
    return cannotWrite(path, lastError());
  return std::move(journal);
}

Error Journal::append(StringRef line) {
  std::string text = (line + "\n").str();
  ArrayRef<char> bytes(text.data(), text.size());
  std::error_code code = writeAll(fd, bytes.take_front(text.size() / 2));
  if (!code)
    code = faultPoint("journal.write");
  if (!code)
    code = writeAll(fd, bytes.drop_front(text.size() / 2));
  if (!code)
    code = faultPoint("journal.sync");
  if (!code && ::fsync(fd) != 0)
    code = lastError();
  return code ? cannotWrite(path, code) : Error::success();
}
