//===- SafeFile.cpp - Files that may belong to an attacker ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/SafeFile.h"
#include "ffn-mlir/Support/Sha1.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace llvm;

namespace mlir::ffn {

//===----------------------------------------------------------------------===//
// Lost pages
//===----------------------------------------------------------------------===//

// A mapped file that is truncated by someone else raises SIGBUS at the next
// access beyond its end. The handler puts zeros from there on and notes it, so
// that the reader ends normally and `checkUnchanged` reports the file.
namespace {

struct Guard {
  std::atomic<bool> claimed{false};
  std::atomic<bool> active{false};
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> lost{false};
};

constexpr int kNumGuards = 256;
Guard guards[kNumGuards];
struct sigaction previousAction;

void onBusError(int signal, siginfo_t *info, void *context) {
  if (info->si_code > 0) {
    auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    for (Guard &guard : guards) {
      if (!guard.active.load(std::memory_order_acquire) ||
          address < guard.begin.load(std::memory_order_relaxed) ||
          address >= guard.end.load(std::memory_order_relaxed))
        continue;
      auto pageSize = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
      uintptr_t begin = address & ~(pageSize - 1);
      int savedErrno = errno;
      // All the rest at once: a fault a page would cost a mapping each, and
      // the file is refused in any case.
      void *page =
          mmap(reinterpret_cast<void *>(begin),
               guard.end.load(std::memory_order_relaxed) - begin, PROT_READ,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
      errno = savedErrno;
      if (page == MAP_FAILED)
        break;
      guard.lost.store(true, std::memory_order_relaxed);
      return;
    }
  }
  if (previousAction.sa_flags & SA_SIGINFO) {
    previousAction.sa_sigaction(signal, info, context);
  } else if (previousAction.sa_handler != SIG_DFL &&
             previousAction.sa_handler != SIG_IGN) {
    previousAction.sa_handler(signal);
  } else {
    // Returning repeats the access, which now ends the process.
    ::signal(SIGBUS, SIG_DFL);
    if (info->si_code <= 0)
      raise(SIGBUS);
  }
}

int claimGuard(const void *base, uint64_t size) {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = onBusError;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previousAction);
  });
  for (int i = 0; i < kNumGuards; ++i) {
    Guard &guard = guards[i];
    bool expected = false;
    if (!guard.claimed.compare_exchange_strong(expected, true))
      continue;
    auto begin = reinterpret_cast<uintptr_t>(base);
    guard.begin = begin;
    guard.end = begin + size;
    guard.lost = false;
    guard.active.store(true, std::memory_order_release);
    return i;
  }
  return -1;
}

void releaseGuard(int slot) {
  if (slot < 0)
    return;
  guards[slot].active = false;
  guards[slot].claimed = false;
}

constexpr uint64_t kBlock = 64 << 10;
constexpr int kOpenFlags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;

std::string systemText(int error) {
  return error == ENOENT || error == ENOTDIR
             ? std::string("does not exist")
             : std::string("cannot be opened: ") + std::strerror(error);
}

} // namespace

//===----------------------------------------------------------------------===//
// SafeFile
//===----------------------------------------------------------------------===//

SafeFile::~SafeFile() {
  if (base && !inMemory)
    munmap(const_cast<uint8_t *>(base), size);
  releaseGuard(guardSlot);
  if (fd >= 0)
    close(fd);
}

std::shared_ptr<SafeFile> SafeFile::adopt(int fd, StringRef path, bool noMmap,
                                          bool wantBase, StringRef where,
                                          CodedErrors &errors) {
  std::shared_ptr<SafeFile> file(new SafeFile());
  file->path = path.str();
  file->fd = fd;
  struct stat st;
  if (fstat(fd, &st) != 0) {
    (void)errors.error("I105", where,
                       "file \"" + escapeName(path) + "\" " +
                           systemText(errno));
    return nullptr;
  }
  if (!S_ISREG(st.st_mode)) {
    (void)errors.error("I105", where,
                       "file \"" + escapeName(path) +
                           "\" is not a regular file");
    return nullptr;
  }
  file->size = static_cast<uint64_t>(st.st_size);
  file->mtimeSec = st.st_mtim.tv_sec;
  file->mtimeNsec = st.st_mtim.tv_nsec;
  if (file->size == 0)
    return file;
  if (!noMmap) {
    void *base = mmap(nullptr, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (base != MAP_FAILED) {
      // Without a guard a truncated file would end the process.
      file->guardSlot = claimGuard(base, file->size);
      if (file->guardSlot >= 0) {
        file->base = static_cast<const uint8_t *>(base);
        file->mapped = true;
        return file;
      }
      munmap(base, file->size);
    }
  }
  if (!wantBase)
    return file;
  void *base = mmap(nullptr, file->size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    (void)errors.error("I105", where,
                       "file \"" + escapeName(path) + "\" of " +
                           Twine(file->size) +
                           " bytes does not fit into memory");
    return nullptr;
  }
  file->base = static_cast<const uint8_t *>(base);
  file->reserved = true;
  file->filled.resize(divideCeil(file->size, kBlock));
  return file;
}

std::shared_ptr<SafeFile>
SafeFile::open(StringRef path, const FilePolicy &policy, CodedErrors &errors) {
  int fd = path.contains('\0') ? (errno = ENOENT, -1)
                               : ::open(path.str().c_str(), kOpenFlags);
  if (fd < 0) {
    (void)errors.error(
        "I105", "", "file \"" + escapeName(path) + "\" " + systemText(errno));
    return nullptr;
  }
  return adopt(fd, path, policy.noMmap, /*wantBase=*/true, "", errors);
}

std::shared_ptr<SafeFile> SafeFile::fromMemory(StringRef name,
                                               ArrayRef<uint8_t> bytes) {
  std::shared_ptr<SafeFile> file(new SafeFile());
  file->path = name.str();
  file->size = bytes.size();
  file->base = bytes.data();
  file->inMemory = true;
  file->mapped = true;
  return file;
}

LogicalResult SafeFile::changed(CodedErrors &errors) {
  return errors.error(
      "I104", "", "file \"" + escapeName(path) + "\" changed while being read");
}

LogicalResult SafeFile::readRaw(uint64_t offset,
                                MutableArrayRef<uint8_t> buffer,
                                CodedErrors &errors) {
  if (inMemory) {
    if (!buffer.empty())
      std::memcpy(buffer.data(), base + offset, buffer.size());
    return success();
  }
  for (size_t done = 0; done < buffer.size();) {
    ssize_t n = pread(fd, buffer.data() + done, buffer.size() - done,
                      static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return errors.error("I105", "",
                          "file \"" + escapeName(path) +
                              "\" cannot be read: " + std::strerror(errno));
    if (n == 0)
      return changed(errors);
    done += static_cast<size_t>(n);
  }
  return success();
}

static LogicalResult outside(StringRef path, uint64_t offset, uint64_t length,
                             uint64_t size, CodedErrors &errors) {
  return errors.error("I106", "",
                      Twine(length) + " bytes at " + Twine(offset) +
                          " are beyond the " + Twine(size) +
                          " bytes of file \"" + escapeName(path) + "\"");
}

LogicalResult SafeFile::read(uint64_t offset, MutableArrayRef<uint8_t> buffer,
                             CodedErrors &errors) {
  if (offset > size || buffer.size() > size - offset)
    return outside(path, offset, buffer.size(), size, errors);
  if (sha1Pending.load(std::memory_order_acquire) && failed(verifySha1(errors)))
    return failure();
  return readRaw(offset, buffer, errors);
}

std::optional<ArrayRef<uint8_t>> SafeFile::view(uint64_t offset,
                                                uint64_t length) {
  if (!mapped || offset > size || length > size - offset ||
      sha1Pending.load(std::memory_order_acquire))
    return std::nullopt;
  return ArrayRef<uint8_t>(base + offset, length);
}

FailureOr<ArrayRef<uint8_t>> SafeFile::viewOrRead(uint64_t offset,
                                                  uint64_t length,
                                                  std::vector<uint8_t> &storage,
                                                  CodedErrors &errors) {
  if (offset > size || length > size - offset)
    return outside(path, offset, length, size, errors);
  if (sha1Pending.load(std::memory_order_acquire) && failed(verifySha1(errors)))
    return failure();
  if (std::optional<ArrayRef<uint8_t>> bytes = view(offset, length))
    return *bytes;
  storage.resize(length);
  if (failed(readRaw(offset, storage, errors)))
    return failure();
  return ArrayRef<uint8_t>(storage);
}

void SafeFile::drop(uint64_t offset, uint64_t length) {
  if (!mapped || inMemory || offset > size || length > size - offset)
    return;
  // Only whole pages inside the range: the rest belongs to neighbours.
  auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t begin = alignTo(offset, page);
  uint64_t end = (offset + length) / page * page;
  if (begin < end)
    madvise(const_cast<uint8_t *>(base) + begin, end - begin, MADV_DONTNEED);
}

LogicalResult SafeFile::ensure(uint64_t offset, uint64_t length,
                               CodedErrors &errors) {
  if (offset > size || length > size - offset)
    return outside(path, offset, length, size, errors);
  if (!reserved || length == 0)
    return success();
  std::lock_guard<std::mutex> lock(mutex);
  for (uint64_t block = offset / kBlock;
       block <= (offset + length - 1) / kBlock; ++block) {
    if (filled[block])
      continue;
    uint64_t begin = block * kBlock;
    uint64_t n = std::min(kBlock, size - begin);
    if (failed(
            readRaw(begin, {const_cast<uint8_t *>(base) + begin, n}, errors)))
      return failure();
    filled[block] = true;
  }
  return success();
}

LogicalResult SafeFile::requireSha1(StringRef hex, uint64_t eagerBytes,
                                    StringRef where, CodedErrors &errors) {
  std::array<uint8_t, 20> wanted;
  std::string decoded;
  if (hex.size() != 40 || !tryGetFromHex(hex, decoded))
    return errors.error("I107", where,
                        "checksum \"" + escapeName(hex) +
                            "\" is not a SHA-1 of 40 hexadecimal digits");
  std::memcpy(wanted.data(), decoded.data(), wanted.size());
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (requiredSha1 && *requiredSha1 != wanted)
      return errors.error("I107", where,
                          "file \"" + escapeName(path) +
                              "\" is given two different checksums");
    if (!requiredSha1) {
      requiredSha1 = wanted;
      sha1Pending.store(true, std::memory_order_release);
    }
  }
  if (size > eagerBytes)
    return success();
  return verifySha1(errors);
}

LogicalResult SafeFile::verifySha1(CodedErrors &errors) {
  std::lock_guard<std::mutex> lock(mutex);
  if (!sha1Pending.load(std::memory_order_acquire))
    return success();
  // Stays pending on a mismatch, so that every read fails; the file is hashed
  // once all the same.
  if (!sha1Differs) {
    Sha1 hash;
    std::vector<uint8_t> chunk(std::min<uint64_t>(size, 1 << 20));
    for (uint64_t offset = 0; offset < size; offset += chunk.size()) {
      chunk.resize(std::min<uint64_t>(chunk.size(), size - offset));
      if (failed(readRaw(offset, chunk, errors)))
        return failure();
      hash.update(chunk);
    }
    sha1Differs = hash.finish() != *requiredSha1;
  }
  if (sha1Differs)
    return errors.error("I107", "",
                        "the SHA-1 of file \"" + escapeName(path) +
                            "\" is not the checksum that the model gives");
  sha1Pending.store(false, std::memory_order_release);
  return success();
}

LogicalResult SafeFile::checkUnchanged(CodedErrors &errors) {
  if (inMemory)
    return success();
  struct stat st;
  if (fstat(fd, &st) != 0 || static_cast<uint64_t>(st.st_size) != size ||
      st.st_mtim.tv_sec != mtimeSec || st.st_mtim.tv_nsec != mtimeNsec ||
      (guardSlot >= 0 && guards[guardSlot].lost.load()))
    return changed(errors);
  return success();
}

//===----------------------------------------------------------------------===//
// ExternalFiles
//===----------------------------------------------------------------------===//

bool isLocationInsideFolder(StringRef location) {
  if (location.empty() || location.contains('\0') || location.contains('\\') ||
      location.starts_with("/"))
    return false;
  if (location.size() >= 2 && isAlpha(location[0]) && location[1] == ':')
    return false;
  for (StringRef rest = location; !rest.empty();) {
    StringRef component;
    std::tie(component, rest) = rest.split('/');
    if (component == "..")
      return false;
  }
  return true;
}

/// The real path of what `fd` refers to; empty where /proc is missing.
static std::string realPathOf(int fd) {
  std::string link = "/proc/self/fd/" + std::to_string(fd);
  std::string target(4096, '\0');
  ssize_t n = readlink(link.c_str(), target.data(), target.size());
  if (n <= 0 || static_cast<size_t>(n) == target.size())
    return "";
  target.resize(static_cast<size_t>(n));
  return target;
}

static bool liesUnder(StringRef path, StringRef root) {
  if (root.empty() || !path.consume_front(root))
    return false;
  return root == "/" || path.starts_with("/");
}

ExternalFiles::ExternalFiles(StringRef modelPath, const SafeFile *model,
                             const FilePolicy &policy)
    : policy(policy) {
  std::string directory = sys::path::parent_path(modelPath).str();
  if (directory.empty())
    directory = ".";
  constexpr int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  folder = ::open(directory.c_str(), flags);
  if (folder >= 0)
    roots.push_back(realPathOf(folder));
  // Hub caches keep model and data as links to files of another folder.
  if (model && model->fd >= 0) {
    std::string real = realPathOf(model->fd);
    roots.push_back(sys::path::parent_path(real).str());
  }
  if (policy.allowSymlinks && !policy.externalDataRoot.empty()) {
    int fd = ::open(policy.externalDataRoot.c_str(), flags);
    if (fd >= 0) {
      roots.push_back(realPathOf(fd));
      close(fd);
    }
  }
}

ExternalFiles::~ExternalFiles() {
  if (folder >= 0)
    close(folder);
}

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

/// openat2 with all links refused. ENOSYS where the system has no such call.
static int openBeneath(int folder, const char *path) {
  // struct open_how of linux/openat2.h, which old headers lack.
  struct {
    uint64_t flags, mode, resolve;
  } how = {kOpenFlags, 0,
           /*NO_MAGICLINKS*/ 0x02 | /*NO_SYMLINKS*/ 0x04 | /*BENEATH*/ 0x08};
  return static_cast<int>(
      syscall(SYS_openat2, folder, path, &how, sizeof(how)));
}

/// The same by single steps; no component may be a link.
static int openStepwise(int folder, StringRef path) {
  int at = fcntl(folder, F_DUPFD_CLOEXEC, 0);
  SmallVector<StringRef> components;
  path.split(components, '/', -1, /*KeepEmpty=*/false);
  for (size_t i = 0; at >= 0 && i < components.size(); ++i) {
    std::string name = components[i].str();
    bool last = i + 1 == components.size();
    int next = openat(
        at, name.c_str(),
        O_NOFOLLOW | (last ? kOpenFlags : O_PATH | O_DIRECTORY | O_CLOEXEC));
    int error = errno;
    struct stat st;
    if (next < 0 && error == ENOTDIR &&
        fstatat(at, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(st.st_mode))
      error = ELOOP;
    close(at);
    at = next;
    errno = error;
  }
  return at;
}

/// Opens for reading what `handle` (an O_PATH descriptor) refers to.
static int reopen(int handle) {
  std::string link = "/proc/self/fd/" + std::to_string(handle);
  return ::open(link.c_str(), kOpenFlags);
}

int ExternalFiles::openLocation(StringRef location, StringRef where,
                                CodedErrors &errors) {
  std::string shown = "external data \"" + escapeName(location) + "\"";
  auto leaves = [&] {
    (void)errors.error("I101", where,
                       "external data location \"" + escapeName(location) +
                           "\" leaves the model's directory");
    return -1;
  };
  auto throughLink = [&](ArrayRef<std::string> notes) {
    (void)errors.error("I102", where,
                       shown + " is reached through a symbolic link", notes);
    return -1;
  };
  auto notOpened = [&](int error) {
    (void)errors.error("I105", where, shown + " " + systemText(error));
    return -1;
  };
  if (!isLocationInsideFolder(location))
    return leaves();
  if (folder < 0)
    return notOpened(ENOENT);

  std::string path = location.str();
  int fd = -1;
  errno = ENOSYS;
  if (!policy.noOpenat2)
    fd = openBeneath(folder, path.c_str());
  // Sandboxes answer EPERM to calls that they do not know.
  if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
    fd = openStepwise(folder, path);
  if (fd >= 0)
    return fd;
  if (errno == EXDEV)
    return leaves();
  if (errno != ELOOP)
    return notOpened(errno);
  if (policy.noSymlinks)
    return throughLink({"--no-symlinks forbids every link"});

  // Where the link ends is asked of the open handle, and the same handle is
  // opened for reading: the path is not walked a second time. O_PATH, since
  // opening a device can have effects.
  int handle = openat(folder, path.c_str(), O_PATH | O_CLOEXEC);
  if (handle < 0)
    return notOpened(errno);
  StringRef real;
  std::string realStorage = realPathOf(handle);
  real = realStorage;
  bool inside = false;
  for (const std::string &root : roots)
    inside |= liesUnder(real, root);
  struct stat st;
  if (!inside) {
    close(handle);
    return throughLink(
        {"a link may end in the folder of the model; --allow-symlinks with "
         "--external-data-root=DIR permits another one"});
  }
  if (fstat(handle, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(handle);
    (void)errors.error("I105", where, shown + " is not a regular file");
    return -1;
  }
  fd = reopen(handle);
  int error = errno;
  close(handle);
  return fd >= 0 ? fd : notOpened(error);
}

std::shared_ptr<SafeFile>
ExternalFiles::get(StringRef location, StringRef where, CodedErrors &errors) {
  if (auto it = byLocation.find(location); it != byLocation.end())
    return it->second;
  if (auto it = failed.find(location); it != failed.end()) {
    const CodedError &e = it->second;
    (void)errors.error(StringRef(e.code).drop_front(4), where, e.what, e.notes);
    return nullptr;
  }
  CodedErrors found(1);
  std::shared_ptr<SafeFile> file;
  if (int fd = openLocation(location, where, found); fd >= 0) {
    struct stat st = {};
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
      (void)found.error("I105", where,
                        "external data \"" + escapeName(location) +
                            "\" is not a regular file");
      close(fd);
    } else if (st.st_nlink > 1 && !policy.allowHardlinks) {
      (void)found.error("I103", where,
                        "external data \"" + escapeName(location) + "\" has " +
                            Twine(st.st_nlink) +
                            " hard links; pass --allow-hardlinks if intended");
      close(fd);
    } else {
      file = SafeFile::adopt(fd, location, policy.noMmap, /*wantBase=*/false,
                             where, found);
    }
  }
  if (!file) {
    const CodedError &e = found.get().front();
    failed.try_emplace(location, e);
    (void)errors.error(StringRef(e.code).drop_front(4), where, e.what, e.notes);
    return nullptr;
  }
  byLocation.try_emplace(location, file);
  files.push_back(file);
  return file;
}

LogicalResult ExternalFiles::checkUnchanged(CodedErrors &errors) {
  bool ok = true;
  for (const std::shared_ptr<SafeFile> &file : files)
    ok &= succeeded(file->checkUnchanged(errors));
  return success(ok);
}

} // namespace mlir::ffn
