//===- DurableFile.h - Files that survive a crash ---------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// A long job keeps what it has finished: a file is either there under its name
// with all its bytes on disk, or not there. Every step at which a crash or a
// full disk matters is a fault point that tests can make fail.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_DURABLEFILE_H
#define FFN_MLIR_SUPPORT_DURABLEFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace mlir::ffn {

/// For tests only. The environment variable FFN_TEST_FAULT, "POINT:N" or
/// "POINT:N:ERRNO", makes the N-th call (from 1) for the point of that name
/// fail: the process ends as by a power cut (SIGKILL), or, with the number of a
/// system error, that error is returned. Without the variable nothing happens.
/// FFN_TEST_FAULT=list names each point on stderr when it is passed.
std::error_code faultPoint(llvm::StringRef name);

/// Writes `path` by way of `<path>.tmp`, which is synced and renamed; the
/// folder is synced too. `point` is the prefix of the fault points ".open",
/// ".write" (half of the bytes of a call are out), ".sync", ".rename",
/// ".renamed". The error (FFN-O101) names path and cause; neither the temporary
/// file is left then, nor is anything under `path` changed.
llvm::Error writeFileDurably(
    llvm::StringRef path, llvm::StringRef point,
    llvm::function_ref<
        llvm::Error(llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)> sink)>
        write);

/// A file of lines; a line that was appended is on disk.
class Journal {
public:
  ~Journal();
  /// Opens or creates the file and locks it against other processes (the error
  /// is FFN-J102). `lines` gets every complete line; what follows the last one,
  /// a line that a crash cut off, is taken away.
  static llvm::Expected<std::unique_ptr<Journal>>
  open(llvm::StringRef path, std::vector<std::string> &lines);
  /// `line` without its end. Fault points "journal.write", "journal.sync".
  llvm::Error append(llvm::StringRef line);

private:
  Journal() = default;
  int fd = -1;
  std::string path;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_DURABLEFILE_H
