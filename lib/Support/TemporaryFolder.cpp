//===- TemporaryFolder.cpp - Files that an interrupt removes --------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/TemporaryFolder.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include <atomic>
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

using namespace mlir::ffn;
using llvm::StringRef;

/// A forked process has a copy of the table, but owns nothing in it.
struct TemporaryPath::Claim {
  std::string path;
  pid_t owner = ::getpid();
};

/// A place of the table. Who takes a claim out by exchange owns it, so that the
/// handler never reads what another thread has freed. Places are used again and
/// never freed.
struct TemporaryPath::Entry {
  std::atomic<Claim *> claim;
  Entry *next = nullptr;
};

using Claim = TemporaryPath::Claim;
using Entry = TemporaryPath::Entry;

static std::atomic<Entry *> table = nullptr;

static Entry *enterTable(Claim *claim) {
  for (Entry *entry = table; entry; entry = entry->next) {
    Claim *none = nullptr;
    if (entry->claim.compare_exchange_strong(none, claim))
      return entry;
  }
  auto *entry = new Entry{claim, table.load()};
  while (!table.compare_exchange_weak(entry->next, entry))
    ;
  return entry;
}

//===----------------------------------------------------------------------===//
// TemporaryPath, TemporaryFolder
//===----------------------------------------------------------------------===//

void TemporaryPath::claim(StringRef name) {
  remove();
  path = name.str();
  // The process may be in another folder when it is interrupted.
  llvm::SmallString<256> absolute = name;
  llvm::sys::fs::make_absolute(absolute);
  claimed = new Claim{absolute.str().str()};
  entry = enterTable(claimed);
}

void TemporaryPath::release() {
  // An interrupt may have taken it, and another the place.
  Claim *mine = claimed;
  if (entry && entry->claim.compare_exchange_strong(mine, nullptr))
    delete claimed;
  entry = nullptr;
  claimed = nullptr;
  path.clear();
}

void TemporaryPath::remove() {
  if (empty())
    return;
  if (claimed->owner == ::getpid() && ::unlink(path.c_str()) != 0)
    llvm::sys::fs::remove_directories(path);
  release();
}

std::error_code TemporaryFolder::make(StringRef model, bool inSystemFolder) {
  std::error_code code;
  for (unsigned attempt = 0; attempt < 100; ++attempt) {
    llvm::SmallString<256> unique;
    llvm::sys::fs::createUniquePath(model, unique, inSystemFolder);
    path.claim(unique);
    code = llvm::sys::fs::create_directory(unique, /*IgnoreExisting=*/false);
    if (!code)
      return {};
    path.release();
    if (code != std::errc::file_exists)
      return code;
  }
  return code;
}

std::error_code TemporaryFolder::create(StringRef prefix) {
  return make((prefix + "-%%%%%%%%%%%%").str(), /*inSystemFolder=*/true);
}

std::error_code TemporaryFolder::createBeside(StringRef name) {
  return make((name + ".tmp-%%%%%%%%%%%%").str(), /*inSystemFolder=*/false);
}

std::string TemporaryFolder::file(StringRef name) const {
  llvm::SmallString<256> result(get());
  llvm::sys::path::append(result, name);
  return result.str().str();
}

//===----------------------------------------------------------------------===//
// Interrupts
//===----------------------------------------------------------------------===//

static void removeTree(const char *path) {
  // Another thread may make a file behind the back of the first try.
  for (int tries = 0; tries < 3 && ::access(path, F_OK) == 0; ++tries) {
    if (::unlink(path) == 0)
      return;
    // fork would wait for locks of malloc that this thread may hold.
    pid_t cleaner = ::_Fork();
    if (cleaner == 0) {
      ::execl("/bin/rm", "rm", "-rf", "--", path, nullptr);
      ::_exit(1);
    }
    if (cleaner > 0)
      ::waitpid(cleaner, nullptr, 0);
  }
}

void mlir::ffn::removeTemporaryPaths() {
  for (Entry *entry = table; entry; entry = entry->next) {
    const Claim *claim = entry->claim.exchange(nullptr);
    if (claim && claim->owner == ::getpid())
      removeTree(claim->path.c_str());
  }
}

static void (*volatile beforeRemoval)(int) = nullptr;

/// Calls only what a signal handler may call.
static void onInterrupt(int signal) {
  if (auto *before = beforeRemoval)
    before(signal);
  removeTemporaryPaths();
  llvm::sys::RunInterruptHandlers();
  ::_exit(128 + signal);
}

void mlir::ffn::installInterruptHandlers(void (*before)(int signal)) {
  beforeRemoval = before;
  // LLVM puts its handlers in place of ours, and of those that the process was
  // started with, when it first has a file to remove, unless they are there
  // already.
  constexpr int taken[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE};
  constexpr int others[] = {SIGQUIT, SIGUSR1, SIGUSR2};
  llvm::SmallVector<std::pair<int, struct sigaction>> started;
  for (llvm::ArrayRef<int> list : {llvm::ArrayRef(taken), {others}})
    for (int number : list) {
      struct sigaction old{};
      if (sigaction(number, nullptr, &old) == 0)
        started.push_back({number, old});
    }
  llvm::sys::SetInterruptFunction(nullptr);
  struct sigaction action{};
  action.sa_handler = onInterrupt;
  // The other signals must not interrupt the cleaning.
  for (int number : taken)
    sigaddset(&action.sa_mask, number);
  for (auto &[number, old] : started)
    // What was started to be deaf to a signal, as under nohup, stays so.
    if (old.sa_handler == SIG_IGN)
      sigaction(number, &old, nullptr);
    else if (llvm::is_contained(taken, number))
      sigaction(number, &action, nullptr);
}
