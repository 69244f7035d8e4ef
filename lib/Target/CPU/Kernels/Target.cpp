//===- Target.cpp - Levels of the CPU target ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Target/CPU/Kernels.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/TargetParser/Host.h"
#include <cstdlib>

using namespace mlir;
using namespace mlir::ffn::cpu;

/// What a level may use. The features that a level needs are all it needs: the
/// name of the processor plays no part.
static SmallVector<StringRef> getLevelFeatures(Level level) {
  SmallVector<StringRef> features{"sse3", "ssse3", "sse4.1", "sse4.2", "popcnt",
                                  "cx16", "avx",   "avx2",   "fma",    "f16c",
                                  "bmi",  "bmi2",  "lzcnt",  "movbe"};
  if (level >= Level::Avx512)
    features.append(
        {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"});
  if (level == Level::Avx512Vnni)
    features.push_back("avx512vnni");
  if (level == Level::Avx2Vnni)
    features.push_back("avxvnni");
  return features;
}

/// FFN_CPU_FEATURES lists, separated by commas, the features that may be used,
/// as the runtime reads it.
static bool isHidden(StringRef feature) {
  const char *list = std::getenv("FFN_CPU_FEATURES");
  if (!list || !*list)
    return false;
  SmallVector<StringRef> shown;
  StringRef(list).split(shown, ',');
  return !llvm::is_contained(shown, feature);
}

static std::string getMissing(Level level) {
  llvm::StringMap<bool> host = llvm::sys::getHostCPUFeatures();
  SmallVector<StringRef> missing;
  for (StringRef feature : getLevelFeatures(level))
    if (!host.lookup(feature) || isHidden(feature))
      missing.push_back(feature);
  return llvm::join(missing, ",");
}

static constexpr Level levels[] = {Level::Avx2, Level::Avx2Vnni, Level::Avx512,
                                   Level::Avx512Vnni};

FailureOr<CpuTarget> CpuTarget::host() {
  for (Level level : llvm::reverse(levels))
    if (getMissing(level).empty())
      return CpuTarget{level};
  return failure();
}

FailureOr<CpuTarget> CpuTarget::parse(StringRef name) {
  if (name == "native")
    return host();
  if (std::optional<Level> level = symbolizeLevel(name))
    return CpuTarget{*level};
  return failure();
}

std::string CpuTarget::getChoices() {
  std::string text = "native";
  for (Level level : levels)
    text += (level == std::end(levels)[-1] ? " or " : ", ") +
            stringifyLevel(level).str();
  return text;
}

std::string CpuTarget::getFeatures() const {
  std::string text;
  for (StringRef feature : getLevelFeatures(level)) {
    text += text.empty() ? "+" : ",+";
    text += feature;
  }
  return text;
}

std::string CpuTarget::getMissingOnHost() const { return getMissing(level); }
