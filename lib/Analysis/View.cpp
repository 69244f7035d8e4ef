//===- View.cpp - A result for people -------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Analysis/View.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Unicode.h"
#include <cmath>

using namespace mlir::ffn;
using llvm::StringRef;

std::string mlir::ffn::formatNumber(double value) {
  if (std::isnan(value))
    return "-";
  std::string text;
  llvm::raw_string_ostream os(text);
  if (value == std::floor(value) && std::abs(value) < 1e7)
    os << llvm::format("%.0f", value);
  else
    os << llvm::format("%.4g", value);
  return text;
}

std::string mlir::ffn::formatScaled(double value, StringRef unit) {
  static constexpr const char *prefixes[] = {"", "k", "M", "G", "T", "P"};
  if (std::isnan(value))
    return "-";
  unsigned step = 0;
  for (; std::abs(value) >= 1000 && step + 1 < std::size(prefixes); ++step)
    value /= 1000;
  std::string text;
  llvm::raw_string_ostream os(text);
  if (step || value != std::floor(value))
    os << llvm::format("%.2f", value);
  else
    os << llvm::format("%.0f", value);
  if (step || !unit.empty())
    os << ' ' << prefixes[step] << unit;
  return text;
}

std::string mlir::ffn::escapeMarkup(StringRef text) {
  std::string escaped;
  for (char c : text) {
    switch (c) {
    case '&':
      escaped += "&amp;";
      break;
    case '<':
      escaped += "&lt;";
      break;
    case '>':
      escaped += "&gt;";
      break;
    case '"':
      escaped += "&quot;";
      break;
    case '\n':
    case '\t':
      escaped += ' ';
      break;
    default:
      // XML has no other control characters, escaped or not.
      escaped += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return escaped;
}

static size_t getWidth(StringRef text) {
  int width = llvm::sys::unicode::columnWidthUTF8(text);
  return width < 0 ? text.size() : width;
}

static void printTable(const Table &table, llvm::raw_ostream &os) {
  if (!table.title.empty())
    os << table.title << '\n';
  std::vector<size_t> widths;
  std::vector<bool> left;
  std::vector<std::string> headings;
  for (auto [i, column] : llvm::enumerate(table.columns)) {
    StringRef heading = column;
    left.push_back(heading.consume_front("<") || i == 0);
    headings.push_back(heading.str());
    size_t width = getWidth(heading);
    for (const auto &row : table.rows)
      if (i < row.size())
        width = std::max(width, getWidth(row[i]));
    widths.push_back(width);
  }
  auto print = [&](const std::vector<std::string> &cells) {
    std::string line;
    for (size_t i = 0; i < cells.size() && i < widths.size(); ++i) {
      std::string fill(widths[i] - std::min(widths[i], getWidth(cells[i])),
                       ' ');
      line += (i ? "  " : "") + (left[i] ? cells[i] + fill : fill + cells[i]);
    }
    os << "  " << StringRef(line).rtrim() << '\n';
  };
  print(headings);
  for (const auto &row : table.rows)
    print(row);
}

/// Lines of 80 columns at most, where no word is longer.
static void printParagraph(StringRef text, llvm::raw_ostream &os) {
  constexpr size_t kColumns = 80;
  std::string line;
  for (StringRef word : llvm::split(text, ' ')) {
    if (!line.empty() && getWidth(line) + 1 + getWidth(word) > kColumns - 2) {
      os << "  " << line << '\n';
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word.str();
  }
  os << "  " << line << '\n';
}

void mlir::ffn::printView(const View &view, llvm::raw_ostream &os) {
  os << view.title << '\n';
  for (const std::string &paragraph : view.text)
    printParagraph(paragraph, os);
  for (const Table &table : view.tables) {
    os << '\n';
    printTable(table, os);
  }
}
