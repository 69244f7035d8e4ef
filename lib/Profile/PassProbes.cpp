//===- PassProbes.cpp - What compression methods read ---------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// One entry for each pass whose method reads statistics. Options that do not
// change what is measured are not looked at, so that the text of a pipeline can
// be given as it is.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Probes.h"
#include "ffn-mlir/Profile/Profile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"

using namespace mlir::ffn;
using llvm::Expected;
using llvm::StringRef;

static std::string get(const PassOptions &options, StringRef key,
                       StringRef otherwise) {
  auto found = options.find(key.str());
  return found == options.end() ? otherwise.str() : found->second;
}

namespace {
struct Method {
  StringRef name;
  std::set<Probe> probes;
  bool sequential = false;
};
} // namespace

/// The request of the method that `key` names, the first one where it is not
/// given.
static Expected<ProbeRequest> choose(const PassOptions &options, StringRef key,
                                     llvm::ArrayRef<Method> methods) {
  std::string name = get(options, key, methods.front().name);
  ProbeRequest request;
  std::string known;
  for (const Method &method : methods) {
    if (method.name == name) {
      request.probes = method.probes;
      request.sequential = method.sequential;
      return request;
    }
    known += (known.empty() ? "" : ", ") + method.name.str();
  }
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 key + "=" + name + " is none of " + known);
}

static llvm::Error readCount(const PassOptions &options, StringRef key,
                             unsigned &value) {
  std::string text = get(options, key, std::to_string(value));
  if (!StringRef(text).getAsInteger(10, value) && value > 0)
    return llvm::Error::success();
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 key + "=" + text + " is no positive number");
}

// SVD, ASVD (arXiv 2312.05821), LoRAP's AWSVD (2404.09695), SVD-LLM
// (2403.07378).
static Expected<ProbeRequest> lowRank(const PassOptions &options) {
  return choose(options, "method",
                {{"svd-llm", {Probe::Gram}},
                 {"svd", {}},
                 {"asvd", {Probe::Moments}},
                 {"awsvd", {Probe::Moments}, /*sequential=*/true}});
}

// FLAP (2312.11983), LoRAP, 2SSP (2501.17771), Nystroem as in MoDeGPT
// (2408.09632).
static Expected<ProbeRequest> pruneChannels(const PassOptions &options) {
  return choose(options, "method",
                {{"flap", {Probe::Hidden}},
                 {"lorap", {Probe::Moments, Probe::Hidden}, true},
                 {"2ssp", {Probe::Hidden}},
                 {"nystrom", {Probe::Hidden, Probe::HiddenGram}}});
}

// CMoE (2502.04416): marks of the normalised hidden vector.
static Expected<ProbeRequest> carveMoE(const PassOptions &options) {
  ProbeRequest request;
  request.probes = {Probe::CMoETopK};
  request.sequential = true;
  if (llvm::Error error = readCount(options, "topk", request.topK))
    return std::move(error);
  return request;
}

// MoEfication (2110.01786).
static Expected<ProbeRequest> moefy(const PassOptions &options) {
  auto request =
      choose(options, "split",
             {{"parameters", {}}, {"coactivation", {Probe::CoFire}}});
  if (!request)
    return request;
  if (llvm::Error error = readCount(options, "group", request->group))
    return std::move(error);
  if (get(options, "router", "centre") == "mlp")
    request->probes.insert(Probe::Raw);
  return request;
}

// Wanda (2306.11695), SparseGPT (2301.00774).
static Expected<ProbeRequest> sparsifyWeights(const PassOptions &options) {
  return choose(options, "method",
                {{"wanda", {Probe::Moments}, true},
                 {"magnitude", {}},
                 {"sparsegpt", {Probe::Gram}, true}});
}

// Round to nearest, GPTQ (2210.17323), AWQ (2306.00978).
static Expected<ProbeRequest> quantize(const PassOptions &options) {
  return choose(options, "method",
                {{"rtn", {}},
                 {"gptq", {Probe::Gram}, true},
                 {"awq", {Probe::Moments, Probe::Gram}, true}});
}

// WINA (2505.19427), TEAL (2408.14690), CATS (2404.08763), CHESS (2409.01366).
static Expected<ProbeRequest> sparsifyActivations(const PassOptions &options) {
  return choose(options, "method",
                {{"wina", {Probe::Histogram, Probe::Moments}},
                 {"teal", {Probe::Histogram}},
                 {"cats", {Probe::Histogram}},
                 {"chess", {Probe::Histogram, Probe::Raw}}});
}

static Expected<ProbeRequest> removeDead(const PassOptions &options) {
  return choose(options, "method",
                {{"proof", {}}, {"empirical", {Probe::Hidden}}});
}

// ShortGPT (2403.03853); the other methods run the model themselves.
static Expected<ProbeRequest> pruneSublayers(const PassOptions &options) {
  return choose(options, "method", {{"block-influence", {Probe::Influence}}});
}

// FFN-SkipLLM (2404.03865).
static Expected<ProbeRequest> insertSkip(const PassOptions &options) {
  ProbeRequest request;
  request.probes = {Probe::Influence};
  return request;
}

void mlir::ffn::registerPassProbes() {
  registerProbes("ffn-low-rank", lowRank);
  registerProbes("ffn-prune-channels", pruneChannels);
  registerProbes("ffn-carve-moe", carveMoE);
  registerProbes("ffn-moefy", moefy);
  registerProbes("ffn-sparsify-weights", sparsifyWeights);
  registerProbes("ffn-quantize", quantize);
  registerProbes("ffn-sparsify-activations", sparsifyActivations);
  registerProbes("ffn-remove-dead-neurons", removeDead);
  registerProbes("ffn-insert-skip", insertSkip);
  registerProbes("ffn-prune-sublayers", pruneSublayers);
}
