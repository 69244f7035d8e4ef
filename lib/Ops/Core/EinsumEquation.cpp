//===- EinsumEquation.cpp - The equation of Einsum ------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Ops/EinsumEquation.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "llvm/ADT/StringExtras.h"
#include <map>

using namespace mlir;
using namespace mlir::ffn;

std::optional<int64_t> EinsumTerm::getHidden(int64_t rank) const {
  int64_t hidden = rank - static_cast<int64_t>(letters.size());
  if (hidden < 0 || (hidden > 0 && !ellipsis))
    return std::nullopt;
  return hidden;
}

EinsumLabels EinsumTerm::getLabels(int64_t hidden) const {
  EinsumLabels labels(letters.begin(), letters.end());
  if (ellipsis)
    for (int64_t i = 1; i <= hidden; ++i)
      labels.insert(labels.begin() + *ellipsis, static_cast<int>(-i));
  return labels;
}

static std::optional<EinsumTerm> parseTerm(StringRef text) {
  EinsumTerm term;
  while (!text.empty()) {
    if (text.consume_front(" "))
      continue;
    if (text.consume_front("...")) {
      if (term.ellipsis)
        return std::nullopt;
      term.ellipsis = term.letters.size();
      continue;
    }
    if (!llvm::isAlpha(text.front()) ||
        term.letters.size() >= static_cast<size_t>(kMaxRank))
      return std::nullopt;
    term.letters += text.front();
    text = text.drop_front();
  }
  return term;
}

std::optional<EinsumEquation> EinsumEquation::parse(StringRef text,
                                                    std::string &why) {
  why = "the equation is not understood";
  auto [left, right] = text.split("->");
  if (text.size() > 4096 || right.contains("->"))
    return std::nullopt;
  EinsumEquation equation;
  std::map<char, unsigned> uses;
  SmallVector<StringRef> parts;
  left.split(parts, ',');
  bool hasEllipsis = false;
  for (StringRef part : parts) {
    std::optional<EinsumTerm> term = parseTerm(part);
    if (!term)
      return std::nullopt;
    hasEllipsis |= term->ellipsis.has_value();
    for (char letter : term->letters)
      ++uses[letter];
    equation.inputs.push_back(std::move(*term));
  }
  EinsumTerm &output = equation.output;
  if (!text.contains("->")) {
    if (hasEllipsis)
      output.ellipsis = 0;
    for (auto [letter, count] : uses)
      if (count == 1)
        output.letters += letter;
    return equation;
  }
  std::optional<EinsumTerm> term = parseTerm(right);
  if (!term)
    return std::nullopt;
  output = std::move(*term);
  for (char letter : output.letters) {
    if (!uses.count(letter))
      why = std::string("'") + letter + "' is in no operand";
    else if (llvm::count(output.letters, letter) > 1)
      why = std::string("'") + letter + "' is in the output twice";
    else
      continue;
    return std::nullopt;
  }
  return equation;
}
