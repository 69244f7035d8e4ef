//===- StandardStreams.h - Ends of stdout and stderr ------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_STANDARDSTREAMS_H
#define FFN_MLIR_SUPPORT_STANDARDSTREAMS_H

#include "llvm/Support/raw_ostream.h"

namespace mlir::ffn {

/// Exit status of a process whose reader is gone: 128 and SIGPIPE, as if the
/// signal had ended it.
constexpr int kBrokenPipeStatus = 141;

/// What could not be written to stdout ends the process with one error
/// (FFN-O101) and status 1, whatever the status would have been; a pipe that
/// nobody reads ends it in silence with `kBrokenPipeStatus`. Without this LLVM
/// ends it with a message that has no code. Call first in `main`.
void guardStandardStreams();

/// Ends the process with `kBrokenPipeStatus` when SIGPIPE arrives, after files
/// that LLVM's tools were writing are gone. For tools that leave signals to
/// LLVM: call after `llvm::InitLLVM`.
void exitOnBrokenPipe();

/// Flushes `os`, a file's stream. False, and the error is taken out of it, if
/// not all could be written; `reason` says why.
bool finishStream(llvm::raw_fd_ostream &os, std::string &reason);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_STANDARDSTREAMS_H
