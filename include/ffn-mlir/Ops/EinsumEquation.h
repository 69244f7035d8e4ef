//===- EinsumEquation.h - The equation of Einsum ----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_OPS_EINSUMEQUATION_H
#define FFN_MLIR_OPS_EINSUMEQUATION_H

#include "mlir/Support/LLVM.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <optional>
#include <string>

namespace mlir::ffn {

/// One label for each dim of a tensor: a letter, or for the dims that an
/// ellipsis stands for a negative number, counted from the right.
using EinsumLabels = SmallVector<int>;

struct EinsumTerm {
  std::string letters;
  /// Letters before "...", if there is one.
  std::optional<size_t> ellipsis;

  /// Dims of a tensor of `rank` dims that the ellipsis stands for; none where
  /// the rank does not fit.
  std::optional<int64_t> getHidden(int64_t rank) const;
  /// Labels where the ellipsis stands for `hidden` dims.
  EinsumLabels getLabels(int64_t hidden) const;
};

/// "ij,jk->ik". Without an arrow the output has the broadcast dims and then the
/// letters that occur once, in the order of their codes.
struct EinsumEquation {
  SmallVector<EinsumTerm> inputs;
  /// Its letters are distinct and each is in an input.
  EinsumTerm output;

  /// None after `why` has been set to a sentence for a message.
  static std::optional<EinsumEquation> parse(StringRef text, std::string &why);
};

} // namespace mlir::ffn

#endif // FFN_MLIR_OPS_EINSUMEQUATION_H
