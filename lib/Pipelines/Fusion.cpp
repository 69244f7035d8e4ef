//===- Fusion.cpp - The pipeline ffn-fusion -------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Pipelines/Fusion.h"
#include "ffn-mlir/Dialect/FFN/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace mlir::ffn;

namespace {
struct FusionOptions : PassPipelineOptions<FusionOptions> {
  template <typename T> using Opt = PassOptions::Option<T>;
  ListOption<std::string> only{
      *this, "only", llvm::cl::desc("Names of the networks that may join")};
  Opt<bool> keepLast{
      *this, "keep-last",
      llvm::cl::desc("Leave the last of a run behind the others"),
      llvm::cl::init(true)};
  Opt<unsigned> maxLength{
      *this, "max-length",
      llvm::cl::desc("Networks of a piece at most; 0: no limit"),
      llvm::cl::init(0)};
  Opt<int64_t> maxWidth{
      *this, "max-width",
      llvm::cl::desc("Hidden width of a piece at most; 0: no limit"),
      llvm::cl::init(0)};
  Opt<double> maxDistance{*this, "max-distance",
                          llvm::cl::desc("Largest distance inside a piece"),
                          llvm::cl::init(2.0)};
  Opt<std::string> matrix{*this, "matrix",
                          llvm::cl::desc("File for the distances, as JSON")};
  Opt<std::string> calib{*this, "calib",
                         llvm::cl::desc("Samples, as for ffn-parallelize")};
  Opt<std::string> tokenizer{
      *this, "tokenizer",
      llvm::cl::desc("Tokenizer in JSON form; without: bytes")};
  Opt<unsigned> samples{*this, "samples", llvm::cl::desc("Number of samples"),
                        llvm::cl::init(10)};
  Opt<unsigned> length{*this, "length", llvm::cl::desc("Tokens of a sample"),
                       llvm::cl::init(256)};
  Opt<uint64_t> seed{*this, "seed", llvm::cl::desc("Of the choice of samples"),
                     llvm::cl::init(0)};
  Opt<std::string> cpu{
      *this, "cpu",
      llvm::cl::desc("Instruction set level of the model that is run"),
      llvm::cl::init("native")};
  Opt<bool> round{
      *this, "round",
      llvm::cl::desc("Round scaled f16 and bf16 weights to their type, so that "
                     "networks of different norms can join"),
      llvm::cl::init(false)};
};
} // namespace

void mlir::ffn::registerFusionPipeline() {
  PassPipelineRegistration<FusionOptions>(
      "ffn-fusion",
      "Networks in a row read one input and become one wide network",
      [](OpPassManager &manager, const FusionOptions &options) {
        FFNParallelizeOptions parallelize;
        parallelize.only.assign(options.only.begin(), options.only.end());
        parallelize.keepLast = options.keepLast;
        parallelize.maxLength = options.maxLength;
        parallelize.maxWidth = options.maxWidth;
        parallelize.maxDistance = options.maxDistance;
        parallelize.matrixFile = options.matrix;
        parallelize.calib = options.calib;
        parallelize.tokenizer = options.tokenizer;
        parallelize.samples = options.samples;
        parallelize.length = options.length;
        parallelize.seed = options.seed;
        parallelize.cpu = options.cpu;
        manager.addPass(createFFNParallelize(parallelize));
        FFNFoldNormOptions fold;
        fold.round = options.round;
        manager.addPass(createFFNFoldNorm(fold));
        manager.addPass(createFFNMergeParallel());
      });
}
