//===- Interrupt.h - What an interrupted verb says --------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_TOOLS_FFNC_INTERRUPT_H
#define FFN_MLIR_TOOLS_FFNC_INTERRUPT_H

namespace mlir::ffn::driver {

/// Text that goes to stderr when SIGINT or SIGTERM ends the process, for verbs
/// that can go on later; it must stay where it is.
void setInterruptMessage(const char *text);

} // namespace mlir::ffn::driver

#endif // FFN_MLIR_TOOLS_FFNC_INTERRUPT_H
