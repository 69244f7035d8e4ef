//===- CommandLine.h - Help texts that fit a screen -------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_COMMANDLINE_H
#define FFN_MLIR_SUPPORT_COMMANDLINE_H

#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/CommandLine.h"

namespace mlir::ffn {

/// Takes the options that are registered so far out of --help: those of LLVM's
/// libraries, some hundred of which no reader of our help is looking for. They
/// still work. Call before a tool's own options are made.
inline void hideLibraryOptions() {
  for (auto &[name, option] : llvm::cl::getRegisteredOptions()) {
    bool isGeneric = llvm::StringSwitch<bool>(name)
                         .Cases({"help", "help-list", "version"}, true)
                         .Default(false);
    if (!isGeneric)
      option->setHiddenFlag(llvm::cl::ReallyHidden);
  }
}

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_COMMANDLINE_H
