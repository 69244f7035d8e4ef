//===- Svg.cpp - Charts as SVG --------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Analysis/View.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include <cmath>

using namespace mlir::ffn;
using llvm::StringRef;

static constexpr double kWidth = 820, kTop = 44, kBottom = 34, kBar = 9,
                        kGap = 8;
/// Told apart by people who see red and green alike, and in grey.
static constexpr const char *kColors[] = {"#0072b2", "#e69f00", "#009e73",
                                          "#cc79a7", "#56b4e9", "#d55e00",
                                          "#999999", "#000000"};

static const char *getColor(size_t i) {
  return kColors[i % std::size(kColors)];
}

/// Longer names are cut in the middle: beginning and end tell them apart.
static std::string shorten(StringRef name, size_t length = 34) {
  if (name.size() <= length)
    return name.str();
  return (name.take_front(length / 2 - 1) + ".." +
          name.take_back(length / 2 - 1))
      .str();
}

namespace {
/// Draws below what is there already.
class Drawing {
public:
  void draw(const Chart &chart);
  std::string finish();

private:
  void text(double x, double y, StringRef content, StringRef anchor = "start",
            unsigned size = 12, StringRef more = "");
  void line(double x1, double y1, double x2, double y2, StringRef color);
  void rectangle(double x, double y, double width, double height,
                 StringRef fill, StringRef hint = "");
  void legend(const Chart &chart);
  void drawBars(const Chart &chart);
  void drawHeatMap(const Chart &chart);
  void drawLines(const Chart &chart);

  std::string body;
  llvm::raw_string_ostream os{body};
  double y = 0;
};
} // namespace

void Drawing::text(double x, double at, StringRef content, StringRef anchor,
                   unsigned size, StringRef more) {
  os << llvm::format("<text x=\"%.1f\" y=\"%.1f\"", x, at) << " font-size=\""
     << size << "\" text-anchor=\"" << anchor << "\"" << more << '>'
     << escapeMarkup(content) << "</text>\n";
}

void Drawing::line(double x1, double y1, double x2, double y2,
                   StringRef color) {
  os << llvm::format("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"",
                     x1, y1, x2, y2)
     << " stroke=\"" << color << "\"/>\n";
}

void Drawing::rectangle(double x, double at, double width, double height,
                        StringRef fill, StringRef hint) {
  os << llvm::format(
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"", x, at,
            width, height)
     << " fill=\"" << fill << '"';
  if (hint.empty())
    os << "/>\n";
  else
    os << "><title>" << escapeMarkup(hint) << "</title></rect>\n";
}

/// The largest finite value; 1 where there is none above zero.
static double findLargest(const Chart &chart) {
  double largest = 0;
  for (const Series &series : chart.series)
    for (double value : series.values)
      if (std::isfinite(value))
        largest = std::max(largest, value);
  return largest > 0 ? largest : 1;
}

/// Round numbers from zero on, five at most, the last not below `largest`.
static std::vector<double> makeTicks(double largest) {
  double step = std::pow(10, std::floor(std::log10(largest / 4)));
  for (double factor : {1., 2., 5., 10.})
    if (factor * step * 4 >= largest * (1 - 1e-12)) {
      step *= factor;
      break;
    }
  std::vector<double> ticks;
  for (unsigned i = 0; i < 5; ++i) {
    ticks.push_back(i * step);
    if (i && i * step >= largest * (1 - 1e-12))
      break;
  }
  return ticks;
}

void Drawing::legend(const Chart &chart) {
  if (chart.series.size() < 2)
    return;
  double x = 12;
  for (auto [i, series] : llvm::enumerate(chart.series)) {
    std::string name = shorten(series.name, 40);
    double width = 26 + 6.6 * name.size();
    if (x + width > kWidth - 12 && x > 12) {
      x = 12;
      y += 16;
    }
    rectangle(x, y - 9, 10, 10, getColor(i));
    text(x + 14, y, name, "start", 11);
    x += width;
  }
  y += 18;
}

void Drawing::drawBars(const Chart &chart) {
  legend(chart);
  size_t longest = 4;
  for (const std::string &name : chart.categories)
    longest = std::max(longest, shorten(name).size());
  double left = 18 + 6.4 * longest, right = kWidth - 70;
  double height = kBar * chart.series.size() + kGap;
  double bottom = y + height * chart.categories.size();
  std::vector<double> ticks = makeTicks(findLargest(chart));
  auto at = [&](double value) {
    return left + (right - left) * value / ticks.back();
  };
  for (double tick : ticks) {
    line(at(tick), y, at(tick), bottom, "#dddddd");
    text(at(tick), bottom + 14, formatScaled(tick), "middle", 11);
  }
  for (auto [i, name] : llvm::enumerate(chart.categories)) {
    double top = y + height * i + kGap / 2;
    text(left - 6, top + kBar * chart.series.size() / 2 + 4, shorten(name),
         "end", 11);
    for (auto [k, series] : llvm::enumerate(chart.series)) {
      if (i >= series.values.size() || !std::isfinite(series.values[i]))
        continue;
      double value = std::max(0.0, series.values[i]);
      std::string shown = formatNumber(series.values[i]);
      rectangle(left, top + kBar * k, at(value) - left, kBar - 1, getColor(k),
                name + ", " + series.name + ": " + shown);
      text(at(value) + 4, top + kBar * (k + 1) - 2, shown, "start", 9,
           " fill=\"#555555\"");
    }
  }
  y = bottom + 30;
  text((left + right) / 2, y, chart.valueLabel, "middle", 12);
}

/// From white over blue to nearly black.
static std::string shade(double share) {
  share = std::min(1.0, std::max(0.0, share));
  auto mix = [&](double white, double middle, double dark) {
    double value = share < 0.5 ? white + (middle - white) * share * 2
                               : middle + (dark - middle) * (share * 2 - 1);
    return static_cast<unsigned>(std::lround(value));
  };
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format(
      "#%02x%02x%02x", mix(255, 64, 8), mix(255, 144, 29), mix(255, 197, 88));
  return text;
}

void Drawing::drawHeatMap(const Chart &chart) {
  size_t longest = 4;
  for (const Series &series : chart.series)
    longest = std::max(longest, shorten(series.name).size());
  double left = 18 + 6.4 * longest, right = kWidth - 90;
  size_t columns = std::max<size_t>(1, chart.categories.size());
  double cell = std::min((right - left) / columns, 42.0);
  double height = std::min(cell, 26.0), largest = findLargest(chart);
  size_t head = 0;
  for (const std::string &name : chart.categories)
    head = std::max(head, shorten(name, 26).size());
  double top = y + 5.2 * head + 8;
  for (auto [i, name] : llvm::enumerate(chart.categories)) {
    double x = left + cell * (i + 0.5) + 3;
    std::string turn;
    llvm::raw_string_ostream(turn)
        << llvm::format(" transform=\"rotate(-60 %.1f %.1f)\"", x, top - 6);
    if (cell >= 7)
      text(x, top - 6, shorten(name, 26), "start", 10, turn);
  }
  for (auto [k, series] : llvm::enumerate(chart.series)) {
    double at = top + height * k;
    if (height >= 7)
      text(left - 6, at + height / 2 + 4, shorten(series.name), "end", 10);
    for (auto [i, value] : llvm::enumerate(series.values)) {
      if (i >= columns || !std::isfinite(value))
        continue;
      std::string shown = formatNumber(value);
      rectangle(left + cell * i, at, cell - 1, height - 1,
                shade(value / largest),
                series.name + ", " + chart.categories[i] + ": " + shown);
      if (cell >= 30 && height >= 14)
        text(left + cell * (i + 0.5), at + height / 2 + 3, shown, "middle", 8,
             value / largest > 0.4 ? " fill=\"#ffffff\"" : "");
    }
  }
  double bottom = top + height * chart.series.size();
  constexpr unsigned kSteps = 20;
  double key = left + cell * columns + 24;
  double scale = std::min(bottom - top, 160.0) / kSteps;
  for (unsigned i = 0; i < kSteps; ++i)
    rectangle(key, top + scale * i, 12, scale + 0.5,
              shade(1 - (i + 0.5) / kSteps));
  text(key + 16, top + 8, formatNumber(largest), "start", 10);
  text(key + 16, top + scale * kSteps, "0", "start", 10);
  y = std::max(bottom, top + 60) + 18;
  text(left, y,
       chart.valueLabel +
           (chart.categoryLabel.empty() ? "" : "; " + chart.categoryLabel),
       "start", 12);
}

void Drawing::drawLines(const Chart &chart) {
  legend(chart);
  double left = 70, right = kWidth - 30, bottom = y + 220;
  std::vector<double> ticks = makeTicks(findLargest(chart));
  size_t count = std::max<size_t>(2, chart.categories.size());
  auto atX = [&](size_t i) {
    return left + (right - left) * i / static_cast<double>(count - 1);
  };
  auto atY = [&](double value) {
    return bottom - (bottom - y) * std::max(0.0, value) / ticks.back();
  };
  for (double tick : ticks) {
    line(left, atY(tick), right, atY(tick), "#dddddd");
    text(left - 6, atY(tick) + 4, formatScaled(tick), "end", 11);
  }
  // As many labels as have room.
  size_t step = (chart.categories.size() + 10) / 11;
  for (size_t i = 0; i < chart.categories.size();
       i += std::max<size_t>(1, step))
    text(atX(i), bottom + 15, shorten(chart.categories[i], 12), "middle", 11);
  for (auto [k, series] : llvm::enumerate(chart.series)) {
    std::string points;
    llvm::raw_string_ostream list(points);
    for (auto [i, value] : llvm::enumerate(series.values))
      if (i < count && std::isfinite(value))
        list << llvm::format("%.1f,%.1f ", atX(i), atY(value));
    os << "<polyline points=\"" << StringRef(points).rtrim()
       << "\" fill=\"none\" stroke=\"" << getColor(k)
       << "\" stroke-width=\"1.8\"><title>" << escapeMarkup(series.name)
       << "</title></polyline>\n";
  }
  y = bottom + 32;
  text((left + right) / 2, y,
       chart.categoryLabel.empty()
           ? chart.valueLabel
           : chart.valueLabel + " over " + chart.categoryLabel,
       "middle", 12);
}

void Drawing::draw(const Chart &chart) {
  text(12, y + 24, chart.title, "start", 14, " font-weight=\"bold\"");
  y += kTop;
  switch (chart.kind) {
  case Chart::Kind::Bars:
    drawBars(chart);
    break;
  case Chart::Kind::HeatMap:
    drawHeatMap(chart);
    break;
  case Chart::Kind::Lines:
    drawLines(chart);
    break;
  }
  y += kBottom;
}

std::string Drawing::finish() {
  std::string file;
  llvm::raw_string_ostream result(file);
  result << llvm::format(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
                "height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" ",
                kWidth, y, kWidth, y)
         << "font-family=\"sans-serif\" fill=\"#222222\">\n"
         << llvm::format("<rect width=\"%.0f\" height=\"%.0f\" ", kWidth, y)
         << "fill=\"#ffffff\"/>\n"
         << body << "</svg>\n";
  return file;
}

std::string mlir::ffn::drawCharts(llvm::ArrayRef<Chart> charts) {
  Drawing drawing;
  for (const Chart &chart : charts)
    drawing.draw(chart);
  return drawing.finish();
}
