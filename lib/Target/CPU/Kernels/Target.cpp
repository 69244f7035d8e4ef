//===- Target.cpp - Levels of the CPU target ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Target/CPU/Kernels.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/TargetParser/Host.h"

using namespace mlir;
using namespace mlir::ffn::cpu;

/// What a level may use. The pairs that a level needs are all it needs: the
/// name of the processor plays no part.
static ArrayRef<StringRef> getLevelFeatures(Level level) {
  static constexpr StringRef features[] = {
      "sse3",     "ssse3",    "sse4.1",   "sse4.2",  "popcnt",
      "cx16",     "avx",      "avx2",     "fma",     "f16c",
      "bmi",      "bmi2",     "lzcnt",    "movbe",   "avx512f",
      "avx512bw", "avx512cd", "avx512dq", "avx512vl"};
  constexpr size_t numAvx2 = 14;
  ArrayRef<StringRef> all(features);
  return level == Level::Avx512 ? all : all.take_front(numAvx2);
}

static std::string getMissing(Level level) {
  llvm::StringMap<bool> host = llvm::sys::getHostCPUFeatures();
  SmallVector<StringRef> missing;
  for (StringRef feature : getLevelFeatures(level))
    if (!host.lookup(feature))
      missing.push_back(feature);
  return llvm::join(missing, ",");
}

FailureOr<CpuTarget> CpuTarget::host() {
  for (Level level : {Level::Avx512, Level::Avx2})
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

std::string CpuTarget::getFeatures() const {
  std::string text;
  for (StringRef feature : getLevelFeatures(level)) {
    text += text.empty() ? "+" : ",+";
    text += feature;
  }
  return text;
}

std::string CpuTarget::getMissingOnHost() const { return getMissing(level); }
