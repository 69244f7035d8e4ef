//===- InitAll.cpp - Registration of everything ---------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/InitAll.h"
#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Interpreter/Interpreter.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "ffn-mlir/Ops/Passes.h"
#include "ffn-mlir/Pipelines/Fusion.h"
#include "ffn-mlir/Profile/Profile.h"
#include "ffn-mlir/Target/CPU/Codegen.h"
#include "ffn-mlir/Target/CPU/Kernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/Extensions/InlinerExtension.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

void mlir::ffn::registerAllDialects(DialectRegistry &registry) {
  registry.insert<onnx::ONNXDialect, ffn::FFNDialect, ffn::cpu::CPUDialect,
                  arith::ArithDialect, bufferization::BufferizationDialect,
                  func::FuncDialect, linalg::LinalgDialect, LLVM::LLVMDialect,
                  math::MathDialect, memref::MemRefDialect, scf::SCFDialect,
                  tensor::TensorDialect, vector::VectorDialect>();
  func::registerInlinerExtension(registry);
  registerONNXHooks(registry);
  ffn::cpu::registerBufferizableOpInterface(registry);
  registerFFNEvaluation(registry);
  ffn::cpu::registerCodegenInterfaces(registry);
}

void mlir::ffn::registerAllPasses() {
  registerTransformsPasses();
  cpu::registerKernelPasses();
  cpu::registerCodegenPasses();
  registerShapePasses();
  registerFFNPasses();
  registerFusionPipeline();
  registerPassProbes();
}
