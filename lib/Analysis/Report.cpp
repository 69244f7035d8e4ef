//===- Report.cpp - One page about a model --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Analysis/Report.h"
#include "ffn-mlir/Driver/HostTensor.h"
#include "ffn-mlir/Support/Json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace mlir::ffn;
using llvm::StringRef;
namespace json = llvm::json;

static constexpr uint64_t kMaxInputBytes = uint64_t(64) << 20;
/// Rows that a table shows.
static constexpr size_t kMaxRows = 250;
/// Characters that a cell shows: the text of a remark may be any length.
static constexpr size_t kMaxCell = 600;
/// Beyond so many a cell is broken into lines.
static constexpr size_t kLongCell = 48;

static constexpr StringRef kStyle = R"(
body { font: 15px/1.45 sans-serif; color: #222; margin: 0; background: #f4f5f7; }
main { max-width: 900px; margin: 0 auto; padding: 16px; }
section, nav { background: #fff; border: 1px solid #dfe2e6; border-radius: 6px;
  padding: 4px 20px 16px; margin: 14px 0; overflow-x: auto; }
h1 { font-size: 26px; margin: 18px 0 4px; } h2 { font-size: 19px; }
p { max-width: 76ch; color: #444; margin: 6px 0; }
table { border-collapse: collapse; font-size: 13px; margin: 6px 0; }
caption { text-align: left; font-weight: bold; padding: 8px 0 4px; }
td, th { padding: 2px 10px 2px 0; text-align: right; vertical-align: top;
  border-bottom: 1px solid #eee; }
td.l, th.l { text-align: left; } td, th { white-space: nowrap; }
td.w { white-space: normal; overflow-wrap: anywhere; }
summary { cursor: pointer; color: #0072b2; margin: 8px 0; }
svg { max-width: 100%; height: auto; } footer { color: #777; font-size: 12px; }
)";

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

static llvm::Error refuse(StringRef where, const llvm::Twine &what) {
  return driverError(where + ": " + what + " [FFN-A107]");
}

llvm::Expected<std::vector<ReportPart>>
mlir::ffn::readReportFolder(StringRef folder,
                            std::vector<std::string> &skipped) {
  std::vector<std::string> paths;
  std::error_code code;
  for (llvm::sys::fs::directory_iterator it(folder, code), end;
       !code && it != end; it.increment(code))
    if (StringRef(it->path()).ends_with(".json"))
      paths.push_back(it->path());
  if (code)
    return refuse(folder, "cannot be read: " + code.message());
  llvm::sort(paths);
  std::vector<ReportPart> parts;
  for (const std::string &path : paths) {
    StringRef name = llvm::sys::path::filename(path);
    uint64_t size = 0;
    if (std::error_code failed = llvm::sys::fs::file_size(path, size))
      return refuse(path, "cannot be read: " + failed.message());
    if (size > kMaxInputBytes)
      return refuse(path, "is larger than 64 MiB");
    auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                              /*RequiresNullTerminator=*/false);
    if (!buffer)
      return refuse(path, "cannot be read: " + buffer.getError().message());
    // What our tools print nests six deep.
    if (nestsDeeper((*buffer)->getBuffer(), 100))
      return refuse(path, "nests too deep");
    auto value = json::parse((*buffer)->getBuffer());
    if (!value)
      return refuse(path, "is no JSON: " + llvm::toString(value.takeError()));
    if (auto part = readReportPart(name, *value))
      parts.push_back(std::move(*part));
    else
      skipped.push_back(name.str());
  }
  if (parts.empty())
    return refuse(folder,
                  "holds no .json file that 'ffnc analyze', 'compile', "
                  "'compare --data' or 'bench' has printed with --json");
  llvm::sort(parts, [](const ReportPart &a, const ReportPart &b) {
    return std::tie(a.order, a.file) < std::tie(b.order, b.file);
  });
  return parts;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

static std::string cut(StringRef text) {
  if (text.size() <= kMaxCell)
    return escapeMarkup(text);
  // Not within a character.
  size_t end = kMaxCell;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end;
  return escapeMarkup(text.take_front(end)) + " ...";
}

static void writeTable(const Table &table, llvm::raw_ostream &os) {
  os << "<table>";
  if (!table.title.empty())
    os << "<caption>" << escapeMarkup(table.title) << "</caption>";
  os << "\n<tr>";
  std::vector<StringRef> classes;
  for (auto [i, column] : llvm::enumerate(table.columns)) {
    StringRef name = column;
    bool left = name.consume_front("<") || i == 0;
    classes.push_back(left ? " class=\"l\"" : "");
    os << "<th" << classes.back() << '>' << escapeMarkup(name) << "</th>";
  }
  os << "</tr>\n";
  for (const auto &row : llvm::ArrayRef(table.rows).take_front(kMaxRows)) {
    os << "<tr>";
    for (auto [i, cell] : llvm::enumerate(row))
      os << "<td"
         << (cell.size() > kLongCell ? " class=\"l w\""
             : i < classes.size()    ? classes[i]
                                     : StringRef())
         << '>' << cut(cell) << "</td>";
    os << "</tr>\n";
  }
  os << "</table>\n";
  if (table.rows.size() > kMaxRows)
    os << "<p>" << table.rows.size() - kMaxRows
       << " further rows are in the JSON file.</p>\n";
}

llvm::Expected<std::string>
mlir::ffn::writeReport(StringRef title, llvm::ArrayRef<ReportPart> parts) {
  /// A table that is longer than this is folded.
  constexpr size_t kFolded = 12;
  std::string page;
  llvm::raw_string_ostream os(page);
  os << "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta "
        "charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width\">\n<title>"
     << escapeMarkup(title) << "</title>\n<style>" << kStyle
     << "</style>\n</head>\n<body>\n<main>\n<h1>" << escapeMarkup(title)
     << "</h1>\n<nav>\n<h2>Contents</h2>\n<ol>\n";
  for (auto [i, part] : llvm::enumerate(parts))
    os << "<li><a href=\"#part" << i << "\">" << escapeMarkup(part.view.title)
       << "</a></li>\n";
  os << "</ol>\n</nav>\n";
  for (auto [i, part] : llvm::enumerate(parts)) {
    os << "<section id=\"part" << i << "\">\n<h2>"
       << escapeMarkup(part.view.title) << "</h2>\n";
    for (const std::string &paragraph : part.view.text)
      os << "<p>" << escapeMarkup(paragraph) << "</p>\n";
    if (!part.view.charts.empty())
      os << drawCharts(part.view.charts);
    for (const Table &table : part.view.tables) {
      bool folded = table.rows.size() > kFolded;
      if (folded)
        os << "<details><summary>" << table.rows.size() << " rows</summary>\n";
      writeTable(table, os);
      if (folded)
        os << "</details>\n";
    }
    os << "<footer>" << escapeMarkup(part.file) << "</footer>\n</section>\n";
  }
  os << "</main>\n</body>\n</html>\n";
  if (page.size() > kMaxReportBytes)
    return driverError("the report would have " + llvm::Twine(page.size()) +
                       " bytes, more than " + llvm::Twine(kMaxReportBytes) +
                       ": take some of the .json files out of the folder "
                       "[FFN-A107]");
  return page;
}
