//===- Dependency.cpp - How much parts of a model need one another --------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Search/Dependency.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;

DependencyMatrix::DependencyMatrix(unsigned size)
    : count(size),
      values(size_t(size) * size, std::numeric_limits<double>::quiet_NaN()) {}

/// What a part adds to the residual, token after token.
static std::vector<double> getContribution(const StagedModel &model,
                                           const StagedModel::State &state,
                                           ArrayRef<unsigned> part) {
  const HostTensor *before = model.getResidual(state, part.front()),
                   *after = model.getHidden(state, part.back());
  std::vector<double> difference(after->getNumElements());
  for (size_t i = 0; i < difference.size(); ++i)
    difference[i] = after->getDouble(i) - before->getDouble(i);
  return difference;
}

/// Sum over rows of 1 - cos; a row that becomes zero, or was, has turned by 1.
static double addDistances(ArrayRef<double> a, ArrayRef<double> b,
                           size_t width) {
  double sum = 0;
  for (size_t row = 0; row + width <= a.size() && width > 0; row += width) {
    double product = 0, first = 0, second = 0;
    for (size_t i = row; i < row + width; ++i) {
      product += a[i] * b[i];
      first += a[i] * a[i];
      second += b[i] * b[i];
    }
    if (first == 0 && second == 0)
      continue;
    sum +=
        1 - (first > 0 && second > 0 ? product / std::sqrt(first * second) : 0);
  }
  return sum;
}

Expected<DependencyMatrix>
mlir::ffn::measureDependency(StagedModel &model, ArrayRef<DependencyPart> parts,
                             std::vector<std::vector<HostTensor>> samples) {
  llvm::BitVector none(model.getSublayers().size());
  std::vector<StagedModel::State> original;
  for (std::vector<HostTensor> &sample : samples)
    original.push_back(model.begin(std::move(sample)));
  if (Error error = forEachOnWorkers(model.getNumWorkers(), original.size(),
                                     [&](size_t i, unsigned worker) {
                                       return model.run(original[i], none, 0,
                                                        worker);
                                     }))
    return std::move(error);
  DependencyMatrix matrix(parts.size());
  // Each part writes its own row, so the order of the runs does not matter.
  Error error = forEachOnWorkers(
      model.getNumWorkers(), parts.size(),
      [&](size_t i, unsigned worker) -> Error {
        llvm::BitVector mask = none;
        for (unsigned sublayer : parts[i]) {
          if (!model.getSublayers()[sublayer].fixed.empty())
            return Error::success();
          mask.set(sublayer);
        }
        std::vector<double> sums(parts.size(), 0.0);
        size_t rows = 0;
        for (const StagedModel::State &whole : original) {
          StagedModel::State state = whole;
          if (Error error = model.run(
                  state, mask, model.getSublayers()[parts[i].front()].stage,
                  worker))
            return error;
          const HostTensor *hidden = model.getHidden(state, parts[i].back());
          size_t width =
              hidden->getShape().empty() ? 0 : hidden->getShape().back();
          rows += width ? hidden->getNumElements() / width : 0;
          for (size_t j = i + 1; j < parts.size(); ++j)
            sums[j] +=
                addDistances(getContribution(model, whole, parts[j]),
                             getContribution(model, state, parts[j]), width);
        }
        for (size_t j = i + 1; j < parts.size(); ++j)
          matrix.set(i, j, rows ? sums[j] / rows : 0);
        return Error::success();
      });
  if (error)
    return std::move(error);
  return matrix;
}

FailureOr<DependencyMatrix>
mlir::ffn::measureDependency(ModuleOp module, ArrayRef<DependencyPart> parts,
                             const CalibrationOptions &calibration,
                             StringRef cpu) {
  ModelSignature signature = getModelSignature(module);
  auto samples =
      loadCalibration(signature.inputs, signature.outputs, calibration);
  if (!samples)
    return module.emitError(llvm::toString(samples.takeError()));
  StagedModelOptions options;
  options.cpu = cpu.str();
  std::unique_ptr<StagedModel> model = StagedModel::compile(module, options);
  if (!model)
    return failure();
  auto matrix = measureDependency(*model, parts, std::move(*samples));
  if (!matrix)
    return module.emitError(llvm::toString(matrix.takeError()));
  return std::move(*matrix);
}
