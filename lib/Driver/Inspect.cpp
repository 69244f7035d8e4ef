//===- Inspect.cpp - What a model is made of ------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Driver/Inspect.h"
#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Dialect/FFN/IR/WeightCount.h"
#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace mlir::ffn;
namespace json = llvm::json;

/// "f32", "i64", ... as MLIR spells it; types of ONNX values that are not
/// tensors in full.
static std::string printType(Type type) {
  std::string text;
  llvm::raw_string_ostream os(text);
  if (auto tensor = llvm::dyn_cast<TensorType>(type))
    os << tensor.getElementType();
  else
    os << type;
  return text;
}

static json::Array describeDims(Type type, ArrayAttr names) {
  json::Array dims;
  auto tensor = llvm::dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return dims;
  for (int64_t i = 0; i < tensor.getRank(); ++i) {
    if (!tensor.isDynamicDim(i)) {
      dims.push_back(tensor.getDimSize(i));
      continue;
    }
    auto name = names && i < static_cast<int64_t>(names.size())
                    ? llvm::dyn_cast<StringAttr>(names[i])
                    : StringAttr();
    dims.push_back(name && !name.empty() ? json::fixUTF8(name.getValue())
                                         : std::string("?"));
  }
  return dims;
}

static json::Array
describeSignature(TypeRange types,
                  function_ref<Attribute(unsigned, StringRef)> getAttr,
                  StringRef fallback) {
  json::Array values;
  for (auto [i, type] : llvm::enumerate(types)) {
    auto name = llvm::dyn_cast_if_present<StringAttr>(getAttr(i, "onnx.name"));
    auto dims = llvm::dyn_cast_if_present<ArrayAttr>(getAttr(i, "ffn.dims"));
    values.push_back(json::Object{{"name", name ? json::fixUTF8(name.getValue())
                                                : (fallback + Twine(i)).str()},
                                  {"dtype", printType(type)},
                                  {"dims", describeDims(type, dims)}});
  }
  return values;
}

static json::Object describeFeedForward(FeedForwardOp ff) {
  return json::Object{
      {"form", ff.isGated() ? "gated" : "plain"},
      {"activation", stringifyActivation(ff.getActivation())},
      {"d", ff.getInputWidth()},
      {"m", ff.getHiddenWidth()},
      {"bias", static_cast<bool>(ff.getUpBias() || ff.getGateBias() ||
                                 ff.getDownBias())}};
}

json::Value mlir::ffn::inspectModule(ModuleOp module) {
  json::Array nearMisses;
  bool failedToRaise = false;
  {
    ScopedDiagnosticHandler handler(
        module.getContext(), [&](Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() != DiagnosticSeverity::Remark)
            return failure();
          nearMisses.push_back(json::fixUTF8(diagnostic.str()));
          return success();
        });
    PassManager manager(module.getContext(), ModuleOp::getOperationName());
    if (failed(parsePassPipeline("ffn-raise", manager, llvm::errs())) ||
        failed(manager.run(module)))
      failedToRaise = true;
  }
  if (failedToRaise)
    return nullptr;

  auto function = module.lookupSymbol<func::FuncOp>("main");
  if (!function) {
    module.emitError("the module has no function @main [FFN-C001]");
    return nullptr;
  }
  json::Array sublayers;
  uint64_t flops = 0, onnxNodes = 0, feedForwards = 0;
  function.walk([&](Operation *op) {
    if (auto compute = llvm::dyn_cast<ComputeOpInterface>(op))
      flops += compute.getFlopsPerToken();
    onnxNodes += llvm::isa<onnx::NodeOp>(op);
    feedForwards += llvm::isa<FeedForwardOp>(op);
    auto sublayer = llvm::dyn_cast<SublayerOp>(op);
    if (!sublayer)
      return;
    for (unsigned i = 0; i < sublayer.getNumAddends(); ++i) {
      AddendAttr addend = sublayer.getAddend(i);
      json::Object entry{{"name", json::fixUTF8(addend.getName().getValue())},
                         {"kind", stringifySublayerKind(addend.getKind())}};
      // What an addend is made of: its backward slice inside the body.
      llvm::SetVector<Operation *> slice;
      SmallVector<Value> work{sublayer.getYieldedAddends()[i]};
      while (!work.empty()) {
        Operation *producer = work.pop_back_val().getDefiningOp();
        if (!producer || !sublayer->isProperAncestor(producer) ||
            !slice.insert(producer))
          continue;
        llvm::append_range(work, producer->getOperands());
      }
      WeightCount weights;
      uint64_t addendFlops = 0;
      for (Operation *producer : slice) {
        weights.addFrom(producer);
        if (auto compute = llvm::dyn_cast<ComputeOpInterface>(producer))
          addendFlops += compute.getFlopsPerToken();
        if (auto ff = llvm::dyn_cast<FeedForwardOp>(producer))
          entry["ffn"] = describeFeedForward(ff);
      }
      entry["parameters"] = weights.parameters;
      entry["bytes"] = weights.bytes;
      entry["flops_per_token"] = addendFlops;
      sublayers.push_back(std::move(entry));
    }
  });
  WeightCount total;
  total.addFrom(function);
  FunctionType type = function.getFunctionType();
  return json::Object{{"inputs", describeSignature(
                                     type.getInputs(),
                                     [&](unsigned i, StringRef name) {
                                       return function.getArgAttr(i, name);
                                     },
                                     "arg")},
                      {"outputs", describeSignature(
                                      type.getResults(),
                                      [&](unsigned i, StringRef name) {
                                        return function.getResultAttr(i, name);
                                      },
                                      "result")},
                      {"sublayers", std::move(sublayers)},
                      {"totals", json::Object{{"parameters", total.parameters},
                                              {"bytes", total.bytes},
                                              {"flops_per_token", flops},
                                              {"feed_forwards", feedForwards},
                                              {"onnx_nodes", onnxNodes}}},
                      {"near_misses", std::move(nearMisses)}};
}

static std::string joinDims(const json::Array *dims) {
  std::string text;
  for (const json::Value &dim : *dims) {
    if (!text.empty())
      text += " x ";
    text += dim.getAsString() ? dim.getAsString()->str()
                              : std::to_string(*dim.getAsInteger());
  }
  return "[" + text + "]";
}

/// 1234567 -> "1.23 M"; exact below a thousand.
static std::string scaled(int64_t value, StringRef unit = "") {
  static constexpr const char *prefixes[] = {"", "k", "M", "G", "T", "P"};
  double number = value;
  unsigned step = 0;
  for (; number >= 1000 && step + 1 < std::size(prefixes); ++step)
    number /= 1000;
  std::string text;
  llvm::raw_string_ostream os(text);
  if (step)
    os << llvm::format("%.2f", number);
  else
    os << value;
  if (step || !unit.empty())
    os << ' ' << prefixes[step] << unit;
  return text;
}

void mlir::ffn::printInspection(const json::Value &inspection,
                                llvm::raw_ostream &os) {
  const json::Object *root = inspection.getAsObject();
  if (!root)
    return;
  for (StringRef key : {"inputs", "outputs"}) {
    os << key << '\n';
    for (const json::Value &value : *root->getArray(key)) {
      const json::Object &entry = *value.getAsObject();
      os << "  " << *entry.getString("name") << "  "
         << *entry.getString("dtype") << ' ' << joinDims(entry.getArray("dims"))
         << '\n';
    }
  }
  const json::Array &sublayers = *root->getArray("sublayers");
  os << "sublayers (" << sublayers.size() << ")\n";
  size_t width = 4;
  for (const json::Value &value : sublayers)
    width = std::max(width, value.getAsObject()->getString("name")->size());
  for (const json::Value &value : sublayers) {
    const json::Object &entry = *value.getAsObject();
    os << "  " << llvm::left_justify(*entry.getString("name"), width) << "  "
       << llvm::left_justify(*entry.getString("kind"), 9) << "  "
       << llvm::right_justify(scaled(*entry.getInteger("parameters")), 9)
       << " params  "
       << llvm::right_justify(scaled(*entry.getInteger("bytes"), "B"), 9)
       << "  "
       << llvm::right_justify(scaled(*entry.getInteger("flops_per_token")), 9)
       << " FLOP/token";
    if (const json::Object *ff = entry.getObject("ffn"))
      os << "  " << *ff->getString("form") << ' '
         << *ff->getString("activation") << ' ' << *ff->getInteger("d")
         << " -> " << *ff->getInteger("m")
         << (*ff->getBoolean("bias") ? " with bias" : "");
    os << '\n';
  }
  const json::Object &totals = *root->getObject("totals");
  os << "total  " << scaled(*totals.getInteger("parameters")) << " params  "
     << scaled(*totals.getInteger("bytes"), "B") << "  "
     << scaled(*totals.getInteger("flops_per_token")) << " FLOP/token  "
     << *totals.getInteger("feed_forwards") << " FFNs  "
     << *totals.getInteger("onnx_nodes") << " plain ONNX nodes\n";
  const json::Array &misses = *root->getArray("near_misses");
  if (!misses.empty()) {
    os << "near misses (" << misses.size() << ")\n";
    for (const json::Value &miss : misses)
      os << "  " << *miss.getAsString() << '\n';
  }
}
