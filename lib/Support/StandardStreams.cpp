//===- StandardStreams.cpp - Ends of stdout and stderr --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/StandardStreams.h"
#include "llvm/Support/Signals.h"
#include <csignal>
#include <cstdlib>
#include <unistd.h>

using namespace llvm;

static_assert(mlir::ffn::kBrokenPipeStatus == 128 + SIGPIPE);

/// `_exit` because this runs inside of `exit`, whose status is settled.
static void checkStreams() {
  raw_fd_ostream &out = outs(), &err = errs();
  out.flush();
  if (std::error_code error = out.error()) {
    out.clear_error();
    if (error == std::errc::broken_pipe)
      _exit(mlir::ffn::kBrokenPipeStatus);
    err << "error: cannot write to stdout: " << error.message()
        << " [FFN-O101]\n";
    _exit(1);
  }
  // Nobody can be told about it.
  err.clear_error();
}

void mlir::ffn::guardStandardStreams() {
  // Streams that exist before the function is registered are destroyed after
  // it has run.
  (void)outs();
  (void)errs();
  std::atexit(checkStreams);
}

void mlir::ffn::exitOnBrokenPipe() {
  sys::SetOneShotPipeSignalFunction([] { _exit(kBrokenPipeStatus); });
}

bool mlir::ffn::finishStream(raw_fd_ostream &os, std::string &reason) {
  os.flush();
  if (!os.has_error())
    return true;
  reason = os.error().message();
  os.clear_error();
  return false;
}
