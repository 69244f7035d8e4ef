//===- Statistics.h - Sums over the rows of activations ---------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Every statistic is a sum over tokens in their order, in float64, and what one
// element of it sums does not depend on how the work is split: the same tensors
// come out for any number of threads and on every instruction set.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_PROFILE_STATISTICS_H
#define FFN_MLIR_PROFILE_STATISTICS_H

#include "ffn-mlir/Driver/HostTensor.h"
#include "ffn-mlir/Support/Safetensors.h"
#include <memory>

namespace mlir::ffn {

/// A tensor as rows of its last dimension, one for each token.
class TokenRows {
public:
  /// Widens half precision; the tensor must outlive the object.
  explicit TokenRows(const HostTensor &tensor);

  size_t getNumRows() const { return rows; }
  size_t getWidth() const { return width; }
  const HostTensor &getTensor() const { return *tensor; }
  /// Null where the elements are of the other type.
  const float *floats() const { return f32; }
  const double *doubles() const { return f64; }

private:
  const HostTensor *tensor;
  size_t rows = 0, width = 0;
  const float *f32 = nullptr;
  const double *f64 = nullptr;
  std::vector<float> widened;
};

/// One statistic of one place in the model, over all samples.
class Statistic {
public:
  virtual ~Statistic();
  /// Indices of the tensors that it reads.
  llvm::SmallVector<unsigned, 2> taps;
  /// "<layer>/<site>", the prefix of the names of its tensors.
  std::string prefix;

  /// Memory that it holds, in bytes.
  virtual uint64_t getBytes() const = 0;
  /// Parts of a sample's work that may run at the same time.
  virtual unsigned getNumParts() const { return 1; }
  /// Adds a part of one sample; `rows` are those of `taps`.
  virtual llvm::Error add(unsigned part,
                          llvm::ArrayRef<const TokenRows *> rows) = 0;
  /// After all parts of a sample.
  virtual void endSample() {}
  /// The tensors. Fails (FFN-D212) where sums are not finite.
  virtual llvm::Error finish(std::vector<SafetensorsSource> &tensors) = 0;
};

/// count, sum, sum_sq and abs_sum of each channel; with `hidden` also mean,
/// variance (of the population), second_moment, fired (elements above
/// `threshold`; their magnitude where `magnitude` is set), sample_norm (mean
/// over samples of the norm over the tokens).
struct MomentOptions {
  bool hidden = false, magnitude = false;
  double threshold = 0;
};
std::unique_ptr<Statistic> makeMoments(size_t width,
                                       const MomentOptions &options);
/// gram [width, width]: the sum of x x^T. As of the others below, rows
/// [begin, end) may be asked for alone, to save memory; the name of the tensor
/// is "gram.<begin>" then, and the elements have the same bits.
std::unique_ptr<Statistic> makeGram(size_t width, size_t begin, size_t end);
/// `name` [rows, columns]: the sum of x y^T, x and y of these widths.
std::unique_ptr<Statistic> makeCross(std::string name, size_t rows,
                                     size_t columns, size_t begin, size_t end);
/// cofire [width, width]: the sum over groups of `group` tokens of
/// min(1, sum of h h^T over the group) (MoEfication, arXiv 2110.01786). The
/// last group of a sample may be shorter.
std::unique_ptr<Statistic> makeCoFiring(size_t width, size_t group,
                                        size_t begin, size_t end);
/// histogram [16384] of |x| over all channels: element i counts the values
/// whose float32 has the exponent and the six leading bits of the mantissa i.
std::unique_ptr<Statistic> makeHistogram();
/// `name` [width, tokens / 8 rounded up], bytes: bit t % 8 of byte t / 8 of row
/// j says that |h_j| of token t is among the `k` largest of the token; of
/// equal ones the first.
std::unique_ptr<Statistic> makeTopK(std::string name, size_t width, size_t k);
/// `name` [tokens, channels]: the rows themselves, kept in the file `spool`
/// until they are written.
std::unique_ptr<Statistic> makeRaw(std::string name, std::string spool);
/// norm_ratio and cosine of a sublayer, whose taps are the residual and the
/// result: means over tokens of |out| / |in| and cos(in, in + out), where
/// in + out is the result. Tokens whose residual or result is zero are left
/// out; "measured" counts the others.
std::unique_ptr<Statistic> makeInfluence();

} // namespace mlir::ffn

#endif // FFN_MLIR_PROFILE_STATISTICS_H
