//===- NeuronView.h - A network as a list of hidden units -------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Hidden unit (neuron) j of a feed-forward network is row j of up and gate,
// entry j of their biases and column j of down. What a network computes is a
// sum over its neurons, plus the bias of down: permuting them, splitting them
// over several networks and joining the neurons of networks that read the same
// value is exact up to the order of that sum; leaving some out is pruning.
//
// Everything here rewrites weight expressions. No byte is read or moved, and
// the form that a weight is kept in (f16, codes and scales) stays outermost,
// where kernels find it.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DIALECT_FFN_TRANSFORMS_NEURONVIEW_H
#define FFN_MLIR_DIALECT_FFN_TRANSFORMS_NEURONVIEW_H

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "mlir/IR/Builders.h"
#include <string>

namespace mlir::ffn {

/// The weights of a network of m neurons. Not the bias of down, which belongs
/// to no neuron.
struct NeuronView {
  /// Matrices [m, d], gate null in a plain network; matrix [out, m].
  Value up, gate, down;
  /// Vectors [m], or null.
  Value upBias, gateBias;

  static NeuronView of(FeedForwardOp network);
  int64_t getNumNeurons() const;
  /// All that are not null.
  SmallVector<Value> getWeights() const;
};

/// Why the neurons of the network cannot be taken apart (a weight is computed
/// at run time); empty if they can. The other functions here ask that they can.
std::string findViewObstacle(FeedForwardOp network);

/// Why `selectNeurons` cannot be called, with a remedy; empty if it can: an
/// index is out of range, nothing is selected, or columns of a quantized down
/// that share a scale would be torn apart.
std::string findSelectObstacle(const NeuronView &view,
                               ArrayRef<int64_t> neurons);

/// The neurons with these indices, in this order; an index may come twice. All
/// of them in their own order are the same values. Creates expressions at the
/// insertion point of `builder`, which all weights dominate (see
/// `setNeuronInsertionPoint`).
NeuronView selectNeurons(OpBuilder &builder, const NeuronView &view,
                         ArrayRef<int64_t> neurons);

/// Neurons [begin, begin + count).
NeuronView sliceNeurons(OpBuilder &builder, const NeuronView &view,
                        int64_t begin, int64_t count);

/// Why `permutation` is none of the neurons, or why they cannot be permuted;
/// empty if `selectNeurons` permutes them by it.
std::string findPermuteObstacle(const NeuronView &view,
                                ArrayRef<int64_t> permutation);

/// One view for each part. Parts may overlap and leave neurons out; each must
/// be one that `findSelectObstacle` has nothing against.
SmallVector<NeuronView> splitNeurons(OpBuilder &builder, const NeuronView &view,
                                     ArrayRef<SmallVector<int64_t>> parts);

/// Why the views cannot be one, with a remedy; empty if they can: types, forms,
/// or quantized weights whose scales do not join.
std::string findConcatObstacle(ArrayRef<NeuronView> views);

/// The neurons of all, in order. Biases that only some have are zeros in the
/// others.
NeuronView concatNeurons(OpBuilder &builder, Location loc,
                         ArrayRef<NeuronView> views);

/// Puts the builder where expressions over the weights belong: before the
/// outermost sublayer around `user`, unless a weight is defined inside.
void setNeuronInsertionPoint(OpBuilder &builder, Operation *user,
                             ArrayRef<NeuronView> views);

/// A network of these neurons that reads `input`.
FeedForwardOp createNetwork(OpBuilder &builder, Location loc, Type type,
                            Value input, const NeuronView &view, Value downBias,
                            Activation activation);

/// Gives the network the neurons of `view` in place of its own.
void setNeurons(FeedForwardOp network, const NeuronView &view);

/// Rows of a weight, or entries of a vector, moved inside of what is made of
/// it. All rows in order are the weight itself.
Value createGatherRows(OpBuilder &builder, Value weight,
                       ArrayRef<int64_t> rows);

/// Why columns of a matrix cannot be gathered in the form that it is kept in;
/// empty if they can.
std::string findGatherColsObstacle(Value matrix, ArrayRef<int64_t> columns);

/// Columns of a matrix.
Value createGatherCols(OpBuilder &builder, Value matrix,
                       ArrayRef<int64_t> columns);

} // namespace mlir::ffn

#endif // FFN_MLIR_DIALECT_FFN_TRANSFORMS_NEURONVIEW_H
