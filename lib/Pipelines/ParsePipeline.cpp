//===- ParsePipeline.cpp - Pipelines that people write --------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Pipelines/ParsePipeline.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

/// `message` over the line of `text` that holds `offset`, with a caret there.
static std::string pointAt(const Twine &message, StringRef text,
                           size_t offset) {
  offset = std::min(offset, text.size());
  StringRef before = text.take_front(offset);
  size_t begin = before.rfind('\n') + 1; // npos + 1 is 0
  size_t line = before.count('\n') + 1, column = offset - begin;
  return ("pipeline:" + Twine(line) + ":" + Twine(column + 1) +
          ": error: " + message + " [FFN-P100]\n" +
          text.substr(begin).split('\n').first + "\n")
             .str() +
         std::string(column, ' ') + "^";
}

/// Where `pass`, a whole word, is followed by `options`; 0 if nowhere.
static size_t findPass(StringRef text, StringRef pass, StringRef options) {
  auto isPartOfName = [&](size_t at) {
    return at < text.size() &&
           (llvm::isAlnum(text[at]) || StringRef("-_.").contains(text[at]));
  };
  for (size_t at = 0; (at = text.find(pass, at)) != StringRef::npos; ++at) {
    size_t end = at + pass.size();
    StringRef rest = text.drop_front(end);
    if ((at == 0 || !isPartOfName(at - 1)) && !isPartOfName(end) &&
        (options.empty() ||
         (rest.consume_front("{") && rest.starts_with(options))))
      return at;
  }
  return 0;
}

/// MLIR's `message` as one over the text that the user wrote.
static std::string showUsersText(StringRef message, StringRef text) {
  size_t inner = text.find('(') + 1; // 0 without one
  auto [position, what] = message.split(": error: ");
  auto [rest, column] = position.rsplit(':');
  size_t line, at;
  if (!what.empty() && !column.getAsInteger(10, at) &&
      !rest.rsplit(':').second.getAsInteger(10, line) && at > 0) {
    size_t offset = inner;
    while (--line > 0)
      offset = text.find('\n', offset) + 1;
    return pointAt(what.split('\n').first, text, offset + at - 1);
  }
  auto [failure, options] = message.split("` with options `");
  if (message.contains("` with options `")) {
    StringRef pass = failure.rsplit('`').second;
    options = options.split('`').first;
    size_t offset = findPass(text, pass, options);
    StringRef anchor = message.split(" restricted to '").second;
    if (!anchor.empty()) {
      StringRef found = anchor.split("intended to run on '").second;
      return pointAt("pass '" + pass + "' runs on '" +
                         anchor.split('\'').first + "', not on '" +
                         found.split('\'').first + "'",
                     text, offset);
    }
    if (!options.empty())
      offset += pass.size() + 1;
    StringRef option =
        message.split("no such option ").second.split('\n').first.trim();
    size_t within = option.empty() ? StringRef::npos : options.find(option);
    if (within != StringRef::npos)
      return pointAt("pass '" + pass + "' has no option '" + option + "'", text,
                     offset + within);
    return pointAt("these options do not fit the pass '" + pass + "'", text,
                   offset);
  }
  return pointAt(message.trim(), text, inner ? text.rtrim().size() : 0);
}

FailureOr<OpPassManager> mlir::ffn::parsePipeline(StringRef text,
                                                  std::string &error) {
  std::string message;
  llvm::raw_string_ostream os(message);
  FailureOr<OpPassManager> parsed = parsePassPipeline(text, os);
  if (failed(parsed))
    error = showUsersText(message, text);
  return parsed;
}

FailureOr<OpPassManager> mlir::ffn::parsePipeline(StringRef text) {
  std::string error;
  FailureOr<OpPassManager> parsed = parsePipeline(text, error);
  if (failed(parsed))
    llvm::errs() << error << '\n';
  return parsed;
}
