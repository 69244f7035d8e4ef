//===- WeightStore.cpp - Bytes behind spans -------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/WeightStore.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/SafeFile.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir;
using namespace mlir::ffn;

namespace {
struct OpenFile {
  int fd = -1;
  uint64_t size = 0;
  const char *base = nullptr;
  uint64_t mapped = 0;
  /// Set for files of the importer; then the members above but `size` are
  /// unused.
  std::shared_ptr<SafeFile> safe;
  /// Ranges (offset, size) of `safe` that it could not map, read into memory.
  /// They stay, since a view handed out must remain valid.
  std::map<std::pair<uint64_t, uint64_t>, std::vector<uint8_t>> copies;

  OpenFile() = default;
  OpenFile(const OpenFile &) = delete;
  OpenFile &operator=(const OpenFile &) = delete;
  ~OpenFile() {
    if (base)
      ::munmap(const_cast<char *>(base), mapped);
    if (fd >= 0)
      ::close(fd);
  }
};
} // namespace

struct WeightStore::Impl {
  std::mutex mutex;
  std::string baseDirectory;
  llvm::StringMap<std::unique_ptr<OpenFile>> files;
  OpenFile derived;
  // Older mappings of @derived stay until the context dies: views handed out
  // must remain valid while the file grows.
  std::vector<std::pair<void *, uint64_t>> derivedMaps;
  // What a module from disk brought along: the head of @derived is this file,
  // and a hole in the scratch file.
  std::string adoptedPath;
  uint64_t adoptedSize = 0;

  ~Impl() {
    for (auto [base, size] : derivedMaps)
      ::munmap(base, size);
  }

  /// The file of a span, opened on first use. Call with the mutex held.
  FailureOr<OpenFile *> open(Operation *user, SpanAttr span);
  bool openScratch();
  /// Path of an `ffn.file` seen from the current folder.
  std::string resolve(StringRef path);
};

WeightStore::WeightStore() : impl(std::make_unique<Impl>()) {}
WeightStore::~WeightStore() = default;

WeightStore &WeightStore::get(MLIRContext *ctx) {
  return ctx->getOrLoadDialect<FFNDialect>()->getWeightStore();
}

void WeightStore::setBaseDirectory(StringRef directory) {
  std::lock_guard<std::mutex> lock(impl->mutex);
  impl->baseDirectory = directory.str();
}

std::string WeightStore::getBaseDirectory() {
  std::lock_guard<std::mutex> lock(impl->mutex);
  return impl->baseDirectory;
}

void WeightStore::registerFile(StringRef path, int fd) {
  struct stat info;
  auto file = std::make_unique<OpenFile>();
  file->fd = fd;
  if (::fstat(fd, &info) == 0)
    file->size = info.st_size;
  std::lock_guard<std::mutex> lock(impl->mutex);
  impl->files[path] = std::move(file);
}

void WeightStore::registerFile(StringRef path, std::shared_ptr<SafeFile> safe) {
  auto file = std::make_unique<OpenFile>();
  file->size = safe->getSize();
  file->safe = std::move(safe);
  std::lock_guard<std::mutex> lock(impl->mutex);
  impl->files[path] = std::move(file);
}

void WeightStore::renameFile(StringRef from, StringRef to) {
  std::lock_guard<std::mutex> lock(impl->mutex);
  auto it = impl->files.find(from);
  if (from == to || it == impl->files.end())
    return;
  impl->files[to] = std::move(it->second);
  impl->files.erase(from);
}

bool WeightStore::Impl::openScratch() {
  if (derived.fd >= 0)
    return true;
  derived.size = adoptedSize;
  const char *folder = std::getenv("TMPDIR");
  std::string path =
      std::string(folder && *folder ? folder : "/tmp") + "/ffn-derived-XXXXXX";
  derived.fd = ::mkostemp(path.data(), O_CLOEXEC);
  if (derived.fd < 0)
    return false;
  ::unlink(path.c_str());
  return true;
}

/// The ffn.file that `symbol` names, looked up from `user` outwards.
static FileOp findFile(Operation *user, FlatSymbolRefAttr symbol) {
  for (Operation *op = user; op; op = op->getParentOp())
    if (op->hasTrait<OpTrait::SymbolTable>())
      if (auto file = llvm::dyn_cast_if_present<FileOp>(
              SymbolTable::lookupSymbolIn(op, symbol)))
        return file;
  return {};
}

std::string WeightStore::Impl::resolve(StringRef path) {
  if (llvm::sys::path::is_absolute(path))
    return path.str();
  SmallString<256> result(baseDirectory);
  llvm::sys::path::append(result, path);
  return result.str().str();
}

FailureOr<OpenFile *> WeightStore::Impl::open(Operation *user, SpanAttr span) {
  if (span.getFile().getValue() == kDerivedFile) {
    if (derived.fd >= 0 && span.getOffset() >= adoptedSize)
      return &derived;
    // A module read from disk names the file its derived weights were saved
    // to.
  }
  FileOp op = findFile(user, span.getFile());
  if (!op) {
    user->emitError("weight '")
        << span.getKey().getValue() << "' refers to the unknown file @"
        << span.getFile().getValue() << " [FFN-W101]";
    return failure();
  }
  auto &entry = files[op.getPath()];
  if (entry)
    return entry.get();
  std::string path = resolve(op.getPath());
  auto file = std::make_unique<OpenFile>();
  file->fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info;
  if (file->fd < 0 || ::fstat(file->fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    user->emitError("cannot read weights file '")
        << op.getPath()
        << "': " << (file->fd < 0 ? std::strerror(errno) : "not a regular file")
        << "; --weights-dir names its folder [FFN-W102]";
    return failure();
  }
  file->size = info.st_size;
  // Spans of another file of that name are numbers without meaning.
  if (op.getSize() && *op.getSize() != file->size) {
    user->emitError("weights file '")
        << op.getPath() << "' has " << file->size << " bytes, and had "
        << *op.getSize()
        << " when the module was written; restore it, or import the model "
           "again [FFN-W103]";
    return failure();
  }
  entry = std::move(file);
  return entry.get();
}

static LogicalResult checkRange(Operation *user, SpanAttr span,
                                uint64_t fileSize) {
  if (span.getOffset() <= fileSize &&
      span.getSize() <= fileSize - span.getOffset())
    return success();
  return user->emitError("weight '")
         << span.getKey().getValue() << "': range [" << span.getOffset()
         << ", +" << span.getSize() << ") is beyond the file's " << fileSize
         << " bytes [FFN-W103]";
}

LogicalResult WeightStore::read(Operation *user, SpanAttr span, uint64_t offset,
                                MutableArrayRef<char> buffer) {
  int fd;
  std::shared_ptr<SafeFile> safe;
  {
    std::lock_guard<std::mutex> lock(impl->mutex);
    FailureOr<OpenFile *> file = impl->open(user, span);
    if (failed(file) || failed(checkRange(user, span, (*file)->size)))
      return failure();
    fd = (*file)->fd;
    safe = (*file)->safe;
  }
  if (offset > span.getSize() || buffer.size() > span.getSize() - offset)
    return user->emitError("read beyond the end of weight '")
           << span.getKey().getValue() << "' [FFN-W103]";
  uint64_t position = span.getOffset() + offset;
  if (safe) {
    CodedErrors errors;
    MutableArrayRef<uint8_t> out(reinterpret_cast<uint8_t *>(buffer.data()),
                                 buffer.size());
    if (failed(safe->read(position, out, errors)))
      return emitCodedErrors(user->getLoc(), errors);
    return success();
  }
  for (size_t done = 0; done < buffer.size();) {
    ssize_t n = ::pread(fd, buffer.data() + done, buffer.size() - done,
                        position + done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return user->emitError("cannot read weight '")
             << span.getKey().getValue()
             << "': " << (n ? std::strerror(errno) : "file was truncated")
             << " [FFN-I104]";
    done += n;
  }
  return success();
}

/// A view into a file of the importer; a copy under --no-mmap.
static FailureOr<ArrayRef<char>> mapSafe(Operation *user, SpanAttr span,
                                         OpenFile &file) {
  CodedErrors errors;
  auto asChars = [](ArrayRef<uint8_t> bytes) {
    return ArrayRef<char>(reinterpret_cast<const char *>(bytes.data()),
                          bytes.size());
  };
  if (failed(file.safe->verifySha1(errors)) ||
      failed(file.safe->checkUnchanged(errors)))
    return emitCodedErrors(user->getLoc(), errors);
  if (auto view = file.safe->view(span.getOffset(), span.getSize()))
    return asChars(*view);
  std::vector<uint8_t> &copy =
      file.copies[std::make_pair(span.getOffset(), span.getSize())];
  if (copy.empty()) {
    std::vector<uint8_t> bytes(span.getSize());
    if (failed(file.safe->read(span.getOffset(), bytes, errors)))
      return emitCodedErrors(user->getLoc(), errors);
    copy = std::move(bytes);
  }
  return asChars(copy);
}

FailureOr<ArrayRef<char>> WeightStore::map(Operation *user, SpanAttr span) {
  std::lock_guard<std::mutex> lock(impl->mutex);
  FailureOr<OpenFile *> opened = impl->open(user, span);
  if (failed(opened))
    return failure();
  OpenFile &file = **opened;
  struct stat info;
  if (&file != &impl->derived && !file.safe && ::fstat(file.fd, &info) == 0)
    file.size = std::min<uint64_t>(file.size, info.st_size);
  if (failed(checkRange(user, span, file.size)))
    return failure();
  if (span.getSize() == 0)
    return ArrayRef<char>();
  if (file.safe)
    return mapSafe(user, span, file);
  if (span.getOffset() + span.getSize() > file.mapped) {
    void *base = ::mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.fd, 0);
    if (base == MAP_FAILED) {
      user->emitError("cannot map weight '")
          << span.getKey().getValue() << "': " << std::strerror(errno)
          << " [FFN-W102]";
      return failure();
    }
    if (file.base)
      impl->derivedMaps.emplace_back(const_cast<char *>(file.base),
                                     file.mapped);
    file.base = static_cast<const char *>(base);
    file.mapped = file.size;
  }
  return ArrayRef<char>(file.base + span.getOffset(), span.getSize());
}

void WeightStore::drop(Operation *user, SpanAttr span) {
  std::lock_guard<std::mutex> lock(impl->mutex);
  FailureOr<OpenFile *> file = impl->open(user, span);
  if (succeeded(file) && (*file)->safe) {
    (*file)->safe->drop(span.getOffset(), span.getSize());
    return;
  }
  if (failed(file) || !(*file)->base ||
      span.getOffset() + span.getSize() > (*file)->mapped)
    return;
  uint64_t page = ::sysconf(_SC_PAGESIZE);
  uint64_t begin = llvm::alignTo(span.getOffset(), page);
  uint64_t end = llvm::alignDown(span.getOffset() + span.getSize(), page);
  if (begin < end)
    ::madvise(const_cast<char *>((*file)->base) + begin, end - begin,
              MADV_DONTNEED);
}

SpanAttr WeightStore::appendDerived(StringRef key, ShapedType type,
                                    ArrayRef<char> bytes) {
  std::lock_guard<std::mutex> lock(impl->mutex);
  MLIRContext *ctx = type.getContext();
  bool ok = impl->openScratch();
  uint64_t offset = llvm::alignTo(impl->derived.size, 64);
  for (size_t done = 0; ok && done < bytes.size();) {
    ssize_t n = ::pwrite(impl->derived.fd, bytes.data() + done,
                         bytes.size() - done, offset + done);
    if (n < 0 && errno == EINTR)
      continue;
    ok = n > 0;
    if (ok)
      done += n;
  }
  if (!ok) {
    emitError(UnknownLoc::get(ctx))
        << "cannot write derived weights: " << std::strerror(errno)
        << "; TMPDIR names the folder [FFN-W104]";
    return {};
  }
  impl->derived.size = offset + bytes.size();
  return SpanAttr::get(ctx, FlatSymbolRefAttr::get(ctx, kDerivedFile), offset,
                       bytes.size(), StringAttr::get(ctx, key), type);
}

void WeightStore::adoptDerived(StringRef path, uint64_t size) {
  std::lock_guard<std::mutex> lock(impl->mutex);
  // Spans of the scratch file, once handed out, cannot move.
  if (impl->derived.fd >= 0)
    return;
  impl->adoptedPath = path.str();
  impl->adoptedSize = size;
}

bool WeightStore::hasNewDerived() {
  std::lock_guard<std::mutex> lock(impl->mutex);
  return impl->derived.fd >= 0;
}

uint64_t WeightStore::getDerivedSize() {
  std::lock_guard<std::mutex> lock(impl->mutex);
  return impl->derived.fd >= 0 ? impl->derived.size : impl->adoptedSize;
}

LogicalResult WeightStore::writeDerived(StringRef path, std::string &error) {
  std::lock_guard<std::mutex> lock(impl->mutex);
  uint64_t adopted = impl->adoptedSize;
  uint64_t size = std::max(adopted, impl->derived.size);
  OpenFile old;
  if (adopted) {
    old.fd = ::open(impl->resolve(impl->adoptedPath).c_str(),
                    O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (old.fd < 0) {
      error = impl->adoptedPath + ": " + std::strerror(errno);
      return failure();
    }
  }
  llvm::Expected<llvm::sys::fs::TempFile> temp =
      llvm::sys::fs::TempFile::create(path + ".tmp-%%%%%%");
  if (!temp) {
    error = llvm::toString(temp.takeError());
    return failure();
  }
  std::vector<char> chunk(1 << 20);
  auto failWith = [&](const char *text) {
    error = text;
    llvm::consumeError(temp->discard());
    return failure();
  };
  for (uint64_t position = 0; position < size;) {
    bool isOld = position < adopted;
    uint64_t end = isOld ? adopted : size;
    ssize_t n =
        ::pread(isOld ? old.fd : impl->derived.fd, chunk.data(),
                std::min<uint64_t>(chunk.size(), end - position), position);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return failWith("derived weights cannot be read back");
    for (ssize_t done = 0; done < n;) {
      ssize_t written = ::write(temp->FD, chunk.data() + done, n - done);
      if (written < 0 && errno == EINTR)
        continue;
      if (written <= 0)
        return failWith(std::strerror(errno));
      done += written;
    }
    position += n;
  }
  if (llvm::Error e = temp->keep(path)) {
    error = llvm::toString(std::move(e));
    return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Bytes of weights
//===----------------------------------------------------------------------===//

FailureOr<uint64_t> mlir::ffn::getPackedByteSize(ShapedType type) {
  if (!type.hasStaticShape())
    return failure();
  Type element = type.getElementType();
  uint64_t bits;
  if (element.isInteger(1))
    bits = 8;
  else if (element.isIntOrFloat())
    bits = element.getIntOrFloatBitWidth();
  else if (auto complex = llvm::dyn_cast<ComplexType>(element))
    bits = 2 * complex.getElementType().getIntOrFloatBitWidth();
  else
    return failure();
  uint64_t total = bits;
  for (int64_t dim : type.getShape())
    if (dim < 0 ||
        __builtin_mul_overflow(total, static_cast<uint64_t>(dim), &total))
      return failure();
  return total / 8 + (total % 8 != 0);
}

LogicalResult mlir::ffn::readWeightBytes(Operation *user, TypedAttr value,
                                         SmallVectorImpl<char> &bytes) {
  auto type = llvm::dyn_cast<ShapedType>(value.getType());
  FailureOr<uint64_t> size =
      type ? getPackedByteSize(type) : FailureOr<uint64_t>(failure());
  if (failed(size))
    return user->emitError("weight of type ")
           << value.getType() << " has no byte form [FFN-W105]";
  if (auto span = llvm::dyn_cast<SpanAttr>(value)) {
    if (span.getSize() != *size)
      return user->emitError("weight '")
             << span.getKey().getValue() << "': span of " << span.getSize()
             << " bytes, type " << type << " needs " << *size << " [FFN-W105]";
    bytes.resize_for_overwrite(*size);
    return WeightStore::get(user->getContext()).read(user, span, 0, bytes);
  }
  auto dense = llvm::dyn_cast<DenseElementsAttr>(value);
  if (!dense)
    return user->emitError("weight value is neither a span nor dense elements "
                           "[FFN-W105]");
  bytes.clear();
  Type element = type.getElementType();
  unsigned bits = element.isIntOrFloat() ? element.getIntOrFloatBitWidth() : 64;
  if (bits < 8 && bits != 1) {
    bytes.assign(*size, 0);
    uint64_t position = 0;
    auto put = [&](const APInt &v) {
      bytes[position / 8] |=
          static_cast<char>(v.getZExtValue() << (position % 8));
      position += bits;
    };
    if (llvm::isa<FloatType>(element))
      for (const APFloat &v : dense.getValues<APFloat>())
        put(v.bitcastToAPInt());
    else
      for (const APInt &v : dense.getValues<APInt>())
        put(v);
    return success();
  }
  if (bits == 1) {
    for (bool v : dense.getValues<bool>())
      bytes.push_back(v);
    return success();
  }
  ArrayRef<char> raw = dense.getRawData();
  if (!dense.isSplat()) {
    bytes.assign(raw.begin(), raw.end());
    return success();
  }
  bytes.reserve(*size);
  for (uint64_t done = 0; done < *size; done += raw.size())
    bytes.append(raw.begin(), raw.end());
  return success();
}

TypedAttr mlir::ffn::makeWeightAttr(MLIRContext *ctx, StringRef key,
                                    RankedTensorType type,
                                    ArrayRef<char> bytes) {
  FailureOr<uint64_t> size = getPackedByteSize(type);
  if (failed(size) || *size != bytes.size())
    return {};
  Type element = type.getElementType();
  bool dense = element.isIntOrFloat() &&
               (element.isInteger(1) || element.getIntOrFloatBitWidth() >= 8);
  if (!dense || bytes.size() > kInlineWeightLimit)
    return WeightStore::get(ctx).appendDerived(key, type, bytes);
  if (element.isInteger(1)) {
    SmallVector<bool> values;
    for (char byte : bytes)
      values.push_back(byte != 0);
    return DenseElementsAttr::get(type, values);
  }
  return DenseElementsAttr::getFromRawBuffer(type, bytes);
}
