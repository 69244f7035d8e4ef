//===- View.h - A result for people -----------------------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_ANALYSIS_VIEW_H
#define FFN_MLIR_ANALYSIS_VIEW_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"
#include <string>
#include <vector>

namespace mlir::ffn {

/// Rows of text under headings. The first column is set to the left, the others
/// to the right unless their heading begins with '<'.
struct Table {
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

struct Series {
  std::string name;
  /// One for each category; NaN leaves a gap.
  std::vector<double> values;
};

/// A picture of numbers.
struct Chart {
  enum class Kind {
    /// Groups of horizontal bars, one group for each category; values are drawn
    /// from zero, so none may be negative.
    Bars,
    /// One row for each series, one column for each category, coloured from 0
    /// (white) to the largest value.
    HeatMap,
    /// A line for each series over the categories, which are evenly spaced.
    Lines
  };
  Kind kind = Kind::Bars;
  std::string title;
  /// What the numbers are, with unit; what the categories are.
  std::string valueLabel, categoryLabel;
  std::vector<std::string> categories;
  std::vector<Series> series;
};

/// What is shown of a result: text, tables, pictures, the same whether on a
/// terminal, as SVG or in a report.
struct View {
  std::string title;
  /// Paragraphs: what was measured, in which units, and what it is good for.
  std::vector<std::string> text;
  std::vector<Table> tables;
  std::vector<Chart> charts;
};

void printView(const View &view, llvm::raw_ostream &os);

/// Four significant digits; "-" for NaN.
std::string formatNumber(double value);
/// With the prefix k, M, G, ...: "1.23 M"; whole numbers below a thousand stay
/// as they are.
std::string formatScaled(double value, llvm::StringRef unit = "");

/// The charts, one below the other, as one SVG file without scripts, fonts or
/// anything else from outside. Names are escaped.
std::string drawCharts(llvm::ArrayRef<Chart> charts);

/// `text` where markup (SVG, HTML) wants text or an attribute.
std::string escapeMarkup(llvm::StringRef text);

} // namespace mlir::ffn

#endif // FFN_MLIR_ANALYSIS_VIEW_H
