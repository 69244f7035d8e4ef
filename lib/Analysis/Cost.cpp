//===- Cost.cpp - Parameters, bytes and FLOPs of sublayers ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Detail.h"
#include "ffn-mlir/Dialect/FFN/IR/WeightCount.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::analysis;

namespace {
/// Of some operations, for one token; a call has `tokens` of them.
struct Cost {
  uint64_t parameters = 0, weightBytes = 0;
  double flops = 0, bytes = 0;

  json::Object toJSON() const {
    return json::Object{{"parameters", parameters},
                        {"weight_bytes", weightBytes},
                        {"flops_per_token", flops},
                        {"bytes_per_token", bytes},
                        {"flops_per_byte", bytes > 0 ? flops / bytes : 0}};
  }
};
} // namespace

static uint64_t getElementBytes(Type type) {
  Type element = llvm::cast<ShapedType>(type).getElementType();
  return element.isIntOrFloat() ? (element.getIntOrFloatBitWidth() + 7) / 8 : 0;
}

/// Bytes of one token's row of a value: [..., width], or heads of one,
/// [batch, heads, tokens, width].
static double getRowBytes(Value value, bool hasHeads) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  if (!type || type.getRank() == 0)
    return 0;
  double width =
      type.isDynamicDim(type.getRank() - 1) ? 0 : type.getShape().back();
  if (hasHeads && type.getRank() == 4 && !type.isDynamicDim(1))
    width *= type.getDimSize(1);
  return width * getElementBytes(type);
}

static double countAttentionFlops(AttentionOp op, int64_t length) {
  auto query = llvm::dyn_cast<RankedTensorType>(op.getQuery().getType());
  auto key = llvm::dyn_cast<RankedTensorType>(op.getKey().getType());
  auto value = llvm::dyn_cast<RankedTensorType>(op.getValue().getType());
  if (!query || !key || !value || query.getRank() != 4 || key.getRank() != 4 ||
      value.getRank() != 4 || query.isDynamicDim(1) || query.isDynamicDim(3) ||
      value.isDynamicDim(3))
    return 0;
  double keys = key.isDynamicDim(2) ? length : key.getDimSize(2);
  return 2.0 * query.getDimSize(1) *
         (query.getDimSize(3) + value.getDimSize(3)) * keys;
}

static Cost measure(ArrayRef<Operation *> roots,
                    const AnalysisOptions &options) {
  Cost cost;
  WeightCount all, read;
  auto isTable = [](Operation *op) { return llvm::isa<EmbeddingOp>(op); };
  double activations = 0;
  for (Operation *root : roots) {
    all.addFrom(root);
    if (!isTable(root))
      read.addFrom(root, isTable);
    root->walk([&](ComputeOpInterface op) {
      auto attention = llvm::dyn_cast<AttentionOp>(op.getOperation());
      cost.flops += attention ? countAttentionFlops(attention, options.length)
                              : op.getFlopsPerToken();
      SmallVector<Value> weights = op.getWeightOperands();
      for (auto [i, operand] : llvm::enumerate(op->getOperands()))
        // A mask is no row of a token.
        if (!llvm::is_contained(weights, operand) && !(attention && i > 2))
          activations += getRowBytes(operand, attention != nullptr);
      for (Value result : op->getResults())
        activations += getRowBytes(result, attention != nullptr);
      if (auto network = llvm::dyn_cast<FeedForwardOp>(op.getOperation()))
        // Its hidden vector is written and read.
        activations += 2.0 * network.getHiddenWidth() *
                       getElementBytes(network.getResult().getType());
      // A token reads one row of a table.
      if (auto table = llvm::dyn_cast<EmbeddingOp>(op.getOperation()))
        activations += getRowBytes(table.getTable(), /*hasHeads=*/false);
    });
  }
  cost.parameters = all.parameters;
  cost.weightBytes = all.bytes;
  cost.bytes = activations + static_cast<double>(read.bytes) /
                                 (options.batch * options.length);
  return cost;
}

Result analysis::analyzeCost(ModuleOp module, ModuleOp, Options options) {
  if (options.batch < 1 || options.length < 1)
    return module.emitError("--batch and --length are at least 1 [FFN-A105]");
  FailureOr<std::vector<NamedSublayer>> sublayers = listNetworks(module);
  if (failed(sublayers))
    return failure();
  json::Array rows;
  Cost total;
  auto add = [&](const Cost &cost) {
    total.flops += cost.flops;
    total.bytes += cost.bytes;
  };
  for (NamedSublayer &entry : *sublayers) {
    Cost cost = measure({entry.op}, options);
    add(cost);
    json::Object row = cost.toJSON();
    row["name"] = entry.name;
    row["kind"] = entry.kind;
    rows.push_back(std::move(row));
  }
  auto main = module.lookupSymbol<func::FuncOp>("main");
  Cost outside = measure(listOutside(module), options);
  add(outside);
  WeightCount whole;
  whole.addFrom(main);
  total.parameters = whole.parameters;
  total.weightBytes = whole.bytes;
  return json::Object{
      {"analysis", "cost"},          {"batch", options.batch},
      {"length", options.length},    {"sublayers", std::move(rows)},
      {"outside", outside.toJSON()}, {"total", total.toJSON()}};
}

View analysis::showCost(const json::Object &result) {
  View view;
  view.title = "Cost at " + formatNumber(getNumber(result, "batch")) + " x " +
               formatNumber(getNumber(result, "length")) + " tokens";
  view.text = {
      "FLOPs count a multiply-add as two, attention over all positions of the "
      "sequence. Bytes of a token: the weights of a call shared by its tokens, "
      "and the rows that operations read and write.",
      "A sublayer with few FLOPs a byte waits for memory: there fewer weight "
      "bytes (quantization, pruning) save time, fewer FLOPs alone do not."};
  std::vector<const json::Object *> rows = getObjects(result, "sublayers");
  Table table{"",
              {"sublayer", "<kind", "parameters", "weight bytes", "FLOPs/token",
               "bytes/token", "FLOPs/byte"},
              {}};
  auto add = [&](const std::string &name, const std::string &kind,
                 const json::Object &row) {
    table.rows.push_back({name, kind,
                          formatScaled(getNumber(row, "parameters")),
                          formatScaled(getNumber(row, "weight_bytes"), "B"),
                          formatScaled(getNumber(row, "flops_per_token")),
                          formatScaled(getNumber(row, "bytes_per_token"), "B"),
                          formatNumber(getNumber(row, "flops_per_byte"))});
  };
  for (const json::Object *row : rows)
    add(getText(*row, "name"), getText(*row, "kind"), *row);
  add("(outside)", "", getObject(result, "outside"));
  add("total", "", getObject(result, "total"));
  view.tables.push_back(std::move(table));
  std::vector<std::string> names = getTexts(rows, "name");
  names.push_back("(outside)");
  rows.push_back(&getObject(result, "outside"));
  view.charts.push_back({Chart::Kind::Bars,
                         "FLOPs of a token",
                         "million FLOPs",
                         "",
                         names,
                         {makeSeries("FLOPs", rows, "flops_per_token", 1e-6)}});
  view.charts.push_back({Chart::Kind::Bars,
                         "Bytes of a token",
                         "kilobytes",
                         "",
                         names,
                         {makeSeries("bytes", rows, "bytes_per_token", 1e-3)}});
  view.charts.push_back({Chart::Kind::Bars,
                         "Parameters",
                         "thousands",
                         "",
                         names,
                         {makeSeries("parameters", rows, "parameters", 1e-3)}});
  return view;
}
