//===- TemporaryFolder.h - Files that an interrupt removes ------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Whoever makes a temporary file or folder claims its name first. The names
// that are claimed stand in one table of the process, which a signal handler
// can read: nothing stays behind when the process is interrupted.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_TEMPORARYFOLDER_H
#define FFN_MLIR_SUPPORT_TEMPORARYFOLDER_H

#include "llvm/ADT/StringRef.h"
#include <string>
#include <system_error>

namespace mlir::ffn {

/// A name under which a file or folder is going to be made, by this process
/// alone. What lies there is removed by `remove`, by the destructor, and when
/// the process is interrupted.
class TemporaryPath {
public:
  TemporaryPath() = default;
  explicit TemporaryPath(llvm::StringRef path) { claim(path); }
  ~TemporaryPath() { remove(); }
  TemporaryPath(const TemporaryPath &) = delete;
  TemporaryPath &operator=(const TemporaryPath &) = delete;

  /// Removes what was claimed before. Call before the file is made.
  void claim(llvm::StringRef path);
  /// Removes the file, or the folder with its contents.
  void remove();
  /// What lies under the name is temporary no longer: it was renamed, or it is
  /// another's.
  void release();
  bool empty() const { return path.empty(); }
  const std::string &get() const { return path; }

  struct Claim;
  struct Entry;

private:
  std::string path;
  Claim *claimed = nullptr;
  Entry *entry = nullptr;
};

/// A folder that is gone with its files at the end of the scope, or when the
/// process is interrupted.
class TemporaryFolder {
public:
  /// A folder `<prefix>-<random>` among the temporary files of the system.
  std::error_code create(llvm::StringRef prefix);
  /// A folder `<path>.tmp-<random>`, on the file system of `path`.
  std::error_code createBeside(llvm::StringRef path);
  /// The path of a file in the folder; of the folder, with a separator at its
  /// end, for "".
  std::string file(llvm::StringRef name) const;
  const std::string &get() const { return path.get(); }

private:
  std::error_code make(llvm::StringRef model, bool inSystemFolder);

  TemporaryPath path;
};

/// Removes everything that is claimed. Only calls what a signal handler may
/// call; the process should end afterwards.
void removeTemporaryPaths();

/// SIGHUP, SIGINT, SIGTERM and SIGPIPE remove what is claimed, and what LLVM is
/// writing under temporary names, and end the process with exit code 129, 130,
/// 143 or 141; except those that the process was started to ignore. `before` is
/// called first, in the signal handler. Call before the first temporary file.
void installInterruptHandlers(void (*before)(int signal) = nullptr);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_TEMPORARYFOLDER_H
