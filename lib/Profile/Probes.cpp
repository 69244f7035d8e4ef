//===- Probes.cpp - What a pass wants measured ----------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Probes.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include <optional>

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

static Error refuse(const llvm::Twine &what, StringRef code) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 what + " [FFN-" + code + "]");
}

static constexpr std::pair<Probe, llvm::StringLiteral> kNames[] = {
    {Probe::Moments, "moments"},
    {Probe::Hidden, "hidden"},
    {Probe::Influence, "influence"},
    {Probe::Gram, "gram"},
    {Probe::HiddenGram, "hidden-gram"},
    {Probe::Histogram, "histogram"},
    {Probe::TopK, "topk"},
    {Probe::CMoETopK, "cmoe-topk"},
    {Probe::CoFire, "cofire"},
    {Probe::Cross, "cross"},
    {Probe::CrossHidden, "cross-hidden"},
    {Probe::Raw, "raw"},
    {Probe::Logits, "logits"}};

StringRef mlir::ffn::getProbeName(Probe probe) {
  for (auto &[known, name] : kNames)
    if (known == probe)
      return name;
  return "";
}

//===----------------------------------------------------------------------===//
// Requests
//===----------------------------------------------------------------------===//

Error ProbeRequest::merge(const ProbeRequest &other) {
  auto both = [&](std::initializer_list<Probe> kinds) {
    auto in = [&](const ProbeRequest &request) {
      return llvm::any_of(kinds,
                          [&](Probe p) { return request.probes.count(p); });
    };
    return in(*this) && in(other);
  };
  auto take = [&](std::initializer_list<Probe> kinds, auto member,
                  StringRef option) -> Error {
    bool asked =
        llvm::any_of(kinds, [&](Probe p) { return other.probes.count(p); });
    if (both(kinds) && this->*member != other.*member)
      return refuse("two requests differ in " + option +
                        "; make a profile for "
                        "each",
                    "P142");
    if (asked)
      this->*member = other.*member;
    return Error::success();
  };
  if (Error error =
          take({Probe::TopK, Probe::CMoETopK}, &ProbeRequest::topK, "k"))
    return error;
  if (Error error = take({Probe::CoFire}, &ProbeRequest::group, "group"))
    return error;
  if (Error error =
          take({Probe::Hidden}, &ProbeRequest::threshold, "threshold"))
    return error;
  if (Error error =
          take({Probe::Hidden}, &ProbeRequest::magnitude, "magnitude"))
    return error;
  probes.insert(other.probes.begin(), other.probes.end());
  sequential |= other.sequential;
  return Error::success();
}

llvm::json::Object ProbeRequest::toJSON() const {
  llvm::json::Array names;
  for (Probe probe : probes)
    names.push_back(getProbeName(probe));
  llvm::json::Object object{{"probes", std::move(names)}};
  if (probes.count(Probe::TopK) || probes.count(Probe::CMoETopK))
    object["k"] = topK;
  if (probes.count(Probe::CoFire))
    object["group"] = group;
  if (probes.count(Probe::Hidden)) {
    object["threshold"] = threshold;
    object["magnitude"] = magnitude;
  }
  return object;
}

ProbeRequest mlir::ffn::getDefaultProbes() {
  ProbeRequest request;
  request.probes = {Probe::Moments, Probe::Hidden, Probe::Influence};
  return request;
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

/// "name{key=value key=value}"; none where the text has another form.
static std::optional<std::pair<StringRef, PassOptions>>
parseNameAndOptions(StringRef text) {
  text = text.trim();
  size_t open = text.find('{');
  PassOptions options;
  if (open == StringRef::npos) {
    if (text.empty())
      return std::nullopt;
    return std::pair(text, options);
  }
  StringRef name = text.take_front(open).trim(),
            inner = text.drop_front(open + 1);
  if (name.empty() || !inner.consume_back("}") || inner.contains('{'))
    return std::nullopt;
  llvm::SmallVector<StringRef> words;
  inner.split(words, ' ', -1, /*KeepEmpty=*/false);
  for (StringRef word : words) {
    auto [key, value] = word.split('=');
    if (key.empty() || !options.emplace(key.str(), value.str()).second)
      return std::nullopt;
  }
  return std::pair(name, options);
}

/// Takes the option out of the map. The text of an error is without code.
template <typename T>
static Error takeNumber(PassOptions &options, StringRef key, T &value) {
  auto found = options.find(key.str());
  if (found == options.end())
    return Error::success();
  StringRef text = found->second;
  bool bad;
  if constexpr (std::is_same_v<T, bool>) {
    bad = text != "true" && text != "false" && text != "1" && text != "0";
    value = text == "true" || text == "1";
  } else if constexpr (std::is_floating_point_v<T>) {
    bad = text.getAsDouble(value) || !(value >= 0);
  } else {
    bad = text.getAsInteger(10, value) || value == 0;
  }
  if (bad)
    return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                   key + "=" + text + " does not fit");
  options.erase(found);
  return Error::success();
}

static Error refuseRest(const PassOptions &options) {
  if (options.empty())
    return Error::success();
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 "no option '" + options.begin()->first + "'");
}

static Expected<ProbeRequest> parseOneProbe(StringRef text) {
  auto parsed = parseNameAndOptions(text);
  if (!parsed)
    return refuse("probe '" + text + "': expected NAME or NAME{option=value}",
                  "P143");
  ProbeRequest request;
  for (auto &[probe, name] : kNames)
    if (name == parsed->first)
      request.probes.insert(probe);
  if (request.probes.empty()) {
    std::string known;
    for (auto &[probe, name] : kNames)
      known += (known.empty() ? "" : ", ") + name.str();
    return refuse("no probe is called '" + parsed->first + "'; there are " +
                      known,
                  "P143");
  }
  Probe probe = *request.probes.begin();
  PassOptions &options = parsed->second;
  Error error = Error::success();
  auto take = [&](StringRef key, auto &value) {
    if (!error)
      error = takeNumber(options, key, value);
  };
  if (probe == Probe::TopK || probe == Probe::CMoETopK)
    take("k", request.topK);
  if (probe == Probe::CoFire)
    take("group", request.group);
  if (probe == Probe::Hidden) {
    take("threshold", request.threshold);
    take("magnitude", request.magnitude);
  }
  if (!error)
    error = refuseRest(options);
  if (error)
    return refuse("probe '" + parsed->first +
                      "': " + llvm::toString(std::move(error)),
                  "P143");
  return request;
}

Expected<ProbeRequest> mlir::ffn::parseProbes(StringRef text) {
  ProbeRequest request;
  size_t begin = 0, depth = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '{')
      ++depth;
    if (i < text.size() && text[i] == '}' && depth)
      --depth;
    if (i < text.size() && (text[i] != ',' || depth))
      continue;
    auto one = parseOneProbe(text.slice(begin, i));
    if (!one)
      return one.takeError();
    if (Error error = request.merge(*one))
      return std::move(error);
    begin = i + 1;
  }
  return request;
}

//===----------------------------------------------------------------------===//
// Passes
//===----------------------------------------------------------------------===//

static llvm::StringMap<ProbeFunction> &getRegistry() {
  static llvm::StringMap<ProbeFunction> registry;
  return registry;
}

void mlir::ffn::registerProbes(StringRef pass, ProbeFunction function) {
  getRegistry()[pass] = function;
}

Expected<ProbeRequest> mlir::ffn::parseProbesFor(StringRef text) {
  auto parsed = parseNameAndOptions(text);
  if (!parsed)
    return refuse("'" + text + "': expected PASS or PASS{option=value ...}",
                  "P142");
  StringRef pass = parsed->first;
  auto found = getRegistry().find(pass);
  if (found == getRegistry().end()) {
    if (mlir::PassInfo::lookup(pass))
      return refuse("pass '" + pass + "' needs no profile", "P141");
    std::vector<StringRef> readers(getRegistry().keys().begin(),
                                   getRegistry().keys().end());
    llvm::sort(readers);
    return refuse("no pass is called '" + pass + "'; profiles are read by " +
                      (readers.empty() ? "none" : llvm::join(readers, ", ")),
                  "P140");
  }
  auto request = found->second(parsed->second);
  if (!request)
    return refuse("pass '" + pass + "': " + llvm::toString(request.takeError()),
                  "P142");
  if (request->probes.empty())
    return refuse("pass '" + pass + "' needs no profile with these options",
                  "P141");
  return request;
}
