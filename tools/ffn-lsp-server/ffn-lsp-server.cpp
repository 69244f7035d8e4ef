//===- ffn-lsp-server.cpp - Language server for editors -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// mlir-lsp-server with the dialects of ffn-opt: diagnostics while typing,
// hover, definitions and completion in .mlir files. Talks JSON-RPC on stdin and
// stdout.
//
// Exit codes: 0 after the requests shutdown and exit, 1 otherwise.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Support/CommandLine.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/LogicalResult.h"

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  mlir::ffn::hideLibraryOptions();
  mlir::DialectRegistry registry;
  mlir::ffn::registerAllDialects(registry);
  return llvm::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
