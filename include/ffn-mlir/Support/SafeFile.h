//===- SafeFile.h - Files that may belong to an attacker --------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A model names further files. These classes open them so that the model
// cannot reach outside its folder, cannot block us on a pipe and cannot change
// a file under us unnoticed. All checks are made on the open descriptor, never
// on the path a second time.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_SAFEFILE_H
#define FFN_MLIR_SUPPORT_SAFEFILE_H

#include "ffn-mlir/Support/CodedError.h"
#include "llvm/ADT/StringMap.h"
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

namespace mlir::ffn {

/// How files are opened; each member is a command-line flag.
struct FilePolicy {
  /// --allow-hardlinks: external data may have more than one name.
  bool allowHardlinks = false;
  /// --no-symlinks: no link at all in the path of external data. Otherwise a
  /// link is followed if it ends in the folder of the model, or in the folder
  /// that the model itself really lies in.
  bool noSymlinks = false;
  /// --allow-symlinks with --external-data-root=DIR: links may end under DIR.
  bool allowSymlinks = false;
  std::string externalDataRoot;
  /// --no-mmap: nothing is mapped; bytes are read when they are needed.
  bool noMmap = false;
  /// For tests: go the way of systems without openat2.
  bool noOpenat2 = false;
};

/// A regular file, open for reading. Thread-safe. The first mapping installs a
/// handler for SIGBUS in the process; faults outside of our mappings go on to
/// the handler that was there before.
class SafeFile {
public:
  ~SafeFile();
  SafeFile(const SafeFile &) = delete;
  SafeFile &operator=(const SafeFile &) = delete;

  /// Opens a file that the user named: links are fine, pipes and folders are
  /// not. Null and an error (I105) if it cannot be opened.
  static std::shared_ptr<SafeFile>
  open(llvm::StringRef path, const FilePolicy &policy, CodedErrors &errors);
  /// Bytes in memory in place of a file; `bytes` must outlive the object.
  static std::shared_ptr<SafeFile> fromMemory(llvm::StringRef name,
                                              llvm::ArrayRef<uint8_t> bytes);

  /// The path as the user or the model wrote it.
  llvm::StringRef getPath() const { return path; }
  uint64_t getSize() const { return size; }
  /// False under --no-mmap and where the system refused to map.
  bool isMapped() const { return mapped; }

  /// Copies `buffer.size()` bytes at `offset`. An error if the range is
  /// outside of the file (I106) or the file changed (I104), or its checksum
  /// was required and differs (I107).
  llvm::LogicalResult read(uint64_t offset,
                           llvm::MutableArrayRef<uint8_t> buffer,
                           CodedErrors &errors);
  /// A view of mapped bytes, nullopt if not mapped, out of range, or under a
  /// checksum that was not checked yet. Valid as
  /// long as this object. Bytes of a file that was truncated meanwhile read
  /// as zero, and `checkUnchanged` fails.
  std::optional<llvm::ArrayRef<uint8_t>> view(uint64_t offset, uint64_t length);
  /// Bytes at `offset` whether mapped or not: a view, or a copy in `storage`.
  llvm::FailureOr<llvm::ArrayRef<uint8_t>>
  viewOrRead(uint64_t offset, uint64_t length, std::vector<uint8_t> &storage,
             CodedErrors &errors);
  /// Pages of the range are no longer needed in memory.
  void drop(uint64_t offset, uint64_t length);

  /// Base address of the whole file. With --no-mmap this is reserved address
  /// space that `ensure` fills page by page, so that a reader of headers does
  /// not read the payload between them. Null for an empty file.
  const uint8_t *getBase() const { return base; }
  /// Makes [offset, offset + length) readable through `getBase`. The range
  /// must lie in the file. Failure (I104) if the file became shorter.
  llvm::LogicalResult ensure(uint64_t offset, uint64_t length,
                             CodedErrors &errors);

  /// Demands that the SHA-1 of the whole file be `hex`. Checked at once for
  /// files up to `eagerBytes`, else at the first `read` of payload. Failure
  /// (I107) for text that is no SHA-1, or another one than required before.
  llvm::LogicalResult requireSha1(llvm::StringRef hex, uint64_t eagerBytes,
                                  llvm::StringRef where, CodedErrors &errors);
  /// Checks a required checksum now; success if none is required.
  llvm::LogicalResult verifySha1(CodedErrors &errors);

  /// Call at the end of reading: I104 if size or time of the file changed
  /// since it was opened, or a mapped page was lost.
  llvm::LogicalResult checkUnchanged(CodedErrors &errors);

private:
  friend class ExternalFiles;
  SafeFile() = default;
  /// Takes over `fd`, a regular file. `wantBase`: the whole file is needed
  /// through `getBase`, mapped or not.
  static std::shared_ptr<SafeFile> adopt(int fd, llvm::StringRef path,
                                         bool noMmap, bool wantBase,
                                         llvm::StringRef where,
                                         CodedErrors &errors);
  llvm::LogicalResult changed(CodedErrors &errors);
  llvm::LogicalResult readRaw(uint64_t offset,
                              llvm::MutableArrayRef<uint8_t> buffer,
                              CodedErrors &errors);

  std::string path;
  int fd = -1;
  uint64_t size = 0;
  int64_t mtimeSec = 0, mtimeNsec = 0;
  const uint8_t *base = nullptr;
  bool mapped = false, reserved = false, inMemory = false;
  /// Slot in the table of the SIGBUS handler, -1 if none.
  int guardSlot = -1;
  std::mutex mutex;
  /// Which blocks of a reserved range are filled.
  std::vector<bool> filled;
  std::optional<std::array<uint8_t, 20>> requiredSha1;
  std::atomic<bool> sha1Pending{false};
  bool sha1Differs = false;
};

/// The files that one model refers to, opened once each.
class ExternalFiles {
public:
  /// For a model at `modelPath`; `model` may be null (model in memory), then
  /// locations resolve against the folder of `modelPath` all the same.
  ExternalFiles(llvm::StringRef modelPath, const SafeFile *model,
                const FilePolicy &policy);
  ~ExternalFiles();

  /// The file at `location` (of an external_data entry). Null after an error:
  /// I101 leaves the folder, I102 symbolic link, I103 hard links, I105 missing
  /// or not a regular file. `where` names the tensor. A location that failed
  /// once fails again, with the same error.
  std::shared_ptr<SafeFile> get(llvm::StringRef location, llvm::StringRef where,
                                CodedErrors &errors);

  /// All files opened so far, by location, in order of first use.
  llvm::ArrayRef<std::shared_ptr<SafeFile>> getFiles() const { return files; }
  /// Calls `SafeFile::checkUnchanged` on each.
  llvm::LogicalResult checkUnchanged(CodedErrors &errors);

private:
  int openLocation(llvm::StringRef location, llvm::StringRef where,
                   CodedErrors &errors);

  FilePolicy policy;
  int folder = -1;
  /// Real paths that a followed link may end under.
  std::vector<std::string> roots;
  llvm::StringMap<std::shared_ptr<SafeFile>> byLocation;
  llvm::StringMap<CodedError> failed;
  std::vector<std::shared_ptr<SafeFile>> files;
};

/// Checks a location textually: not empty, not absolute, no "..", backslash,
/// drive letter or NUL. This is row one of the defence, before the system.
bool isLocationInsideFolder(llvm::StringRef location);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_SAFEFILE_H
