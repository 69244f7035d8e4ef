//===- ONNXOps.cpp - The carrier operation --------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/ONNX/IR/ONNX.h"
#include "ffn-mlir/Dialect/ONNX/IR/Origin.h"
#include "ffn-mlir/Support/CodedError.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace mlir::onnx;

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/ONNX/IR/ONNXOps.cpp.inc"

//===----------------------------------------------------------------------===//
// NodeOp
//===----------------------------------------------------------------------===//

void NodeOp::build(OpBuilder &builder, OperationState &state, StringRef domain,
                   StringRef op, int64_t version, TypeRange outputs,
                   ValueRange inputs, ArrayRef<NamedAttribute> attrs,
                   unsigned numGraphs, NameHints names) {
  auto &properties = state.getOrAddProperties<Properties>();
  properties.setOp(builder.getStringAttr(op));
  properties.setDomain(builder.getStringAttr(domain));
  properties.setVersion(builder.getI64IntegerAttr(version));
  properties.setAttrs(builder.getDictionaryAttr(attrs));
  properties.setNames(std::move(names));
  state.addOperands(inputs);
  state.addTypes(outputs);
  for (unsigned i = 0; i < numGraphs; ++i)
    state.addRegion();
}

int64_t NodeOp::getInt(StringRef name, int64_t otherwise) {
  auto attr = llvm::dyn_cast_if_present<IntegerAttr>(getNodeAttr(name));
  return attr && attr.getValue().getSignificantBits() <= 64
             ? attr.getValue().getSExtValue()
             : otherwise;
}

float NodeOp::getFloat(StringRef name, float otherwise) {
  auto attr = llvm::dyn_cast_if_present<FloatAttr>(getNodeAttr(name));
  return attr ? static_cast<float>(attr.getValueAsDouble()) : otherwise;
}

StringRef NodeOp::getString(StringRef name, StringRef otherwise) {
  auto attr = llvm::dyn_cast_if_present<StringAttr>(getNodeAttr(name));
  return attr ? attr.getValue() : otherwise;
}

std::optional<ArrayRef<int64_t>> NodeOp::getInts(StringRef name) {
  if (auto attr =
          llvm::dyn_cast_if_present<DenseI64ArrayAttr>(getNodeAttr(name)))
    return attr.asArrayRef();
  return std::nullopt;
}

Value NodeOp::getInput(unsigned i) {
  if (i >= getInputs().size())
    return {};
  Value value = getInputs()[i];
  return llvm::isa<NoneType>(value.getType()) ? Value() : value;
}

std::string NodeOp::getQualifiedName() {
  return getDomain().empty() ? getOp().str()
                             : (getDomain() + "::" + getOp()).str();
}

Location onnx::getNodeLocation(StringAttr name, int64_t index, StringRef op) {
  Builder b(name.getContext());
  DictionaryAttr origin =
      b.getDictionaryAttr({b.getNamedAttr("index", b.getI64IntegerAttr(index)),
                           b.getNamedAttr("op", b.getStringAttr(op))});
  return NameLoc::get(
      name, FusedLoc::get({b.getUnknownLoc()}, origin, name.getContext()));
}

std::string onnx::describeOrigin(Location loc) {
  while (auto fused = llvm::dyn_cast<FusedLoc>(loc)) {
    if (fused.getLocations().empty())
      return "";
    loc = fused.getLocations().back();
  }
  auto name = llvm::dyn_cast<NameLoc>(loc);
  if (!name)
    return "";
  std::string text = "node ";
  auto origin =
      llvm::dyn_cast<FusedLocWith<DictionaryAttr>>(name.getChildLoc());
  auto index =
      origin ? origin.getMetadata().getAs<IntegerAttr>("index") : IntegerAttr();
  auto op =
      origin ? origin.getMetadata().getAs<StringAttr>("op") : StringAttr();
  if (index)
    text += std::to_string(index.getInt()) + " ";
  text += ffn::quoteName(name.getName().getValue());
  if (op)
    text += " (" + ffn::escapeName(op.getValue()) + ")";
  return text;
}

std::string NodeOp::describe() {
  std::string text = "node ";
  const NameHints &hints = getProperties().names;
  StringRef name = hints.node.empty() ? hints.output(0) : StringRef(hints.node);
  if (!name.empty()) {
    llvm::raw_string_ostream os(text);
    os << '\'';
    os.write_escaped(name.take_front(80));
    os << "' ";
  }
  return text + "(" + getQualifiedName() + ")";
}

void NodeOp::getEffects(
    SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {
  auto *dialect =
      llvm::dyn_cast_if_present<ONNXDialect>(getOperation()->getDialect());
  if (dialect && dialect->getHooks().effects)
    return dialect->getHooks().effects(getOperation(), effects);
  effects.emplace_back(MemoryEffects::Read::get());
  effects.emplace_back(MemoryEffects::Write::get());
}

Speculation::Speculatability NodeOp::getSpeculatability() {
  // Hoisting out of a branch could raise an error that the model avoids.
  return Speculation::NotSpeculatable;
}

LogicalResult NodeOp::verify() {
  if (getVersion() < 1)
    return emitOpError("version must be positive, is ") << getVersion();
  if (getOp().empty())
    return emitOpError("needs an operator name");
  auto checkGraph = [&](Attribute attr) -> LogicalResult {
    auto graph = llvm::dyn_cast<GraphAttr>(attr);
    if (graph && graph.getRegion() >= getNumRegions())
      return emitOpError("names subgraph ")
             << graph.getRegion() << " of " << getNumRegions();
    return success();
  };
  for (NamedAttribute attr : getAttrs()) {
    if (failed(checkGraph(attr.getValue())))
      return failure();
    if (auto graphs = llvm::dyn_cast<GraphsAttr>(attr.getValue()))
      for (Attribute graph : graphs.getValues())
        if (failed(checkGraph(graph)))
          return failure();
  }
  for (Region &region : getGraphs())
    if (!llvm::isa_and_present<YieldOp>(
            region.front().empty() ? nullptr : &region.front().back()))
      return emitOpError("a subgraph must end with onnx.yield");
  if (getProperties().names.outputs.size() > getNumResults())
    return emitOpError("has more output names than outputs");
  return success();
}

void NodeOp::print(OpAsmPrinter &printer) {
  printer << ' ';
  printer.printString(getQualifiedName());
  printer << " v" << getVersion() << " (";
  printer.printOperands(getInputs());
  printer << ')';
  if (!getAttrs().empty()) {
    printer << ' ';
    printer.printAttributeWithoutType(getAttrs());
  }
  printer << " : ";
  printer.printFunctionalType(getOperation());
  const NameHints &hints = getProperties().names;
  if (!hints.node.empty() || !hints.outputs.empty()) {
    printer << " names [";
    printer.printString(hints.node);
    for (const std::string &output : hints.outputs) {
      printer << ", ";
      printer.printString(output);
    }
    printer << ']';
  }
  if (hints.comments)
    printer << " comments " << hints.comments;
  printer.printOptionalAttrDictWithKeyword(
      (*this)->getDiscardableAttrs().empty()
          ? ArrayRef<NamedAttribute>()
          : llvm::to_vector((*this)->getDiscardableAttrs()));
  for (Region &region : getGraphs()) {
    printer << ' ';
    printer.printRegion(region, /*printEntryBlockArgs=*/true);
  }
}

ParseResult NodeOp::parse(OpAsmParser &parser, OperationState &result) {
  std::string qualified;
  SMLoc nameLoc = parser.getCurrentLocation();
  StringRef versionText;
  if (parser.parseString(&qualified) || parser.parseKeyword(&versionText))
    return failure();
  int64_t version = 0;
  if (!versionText.consume_front("v") || versionText.getAsInteger(10, version))
    return parser.emitError(nameLoc, "expected a version such as v13");
  auto [head, tail] = StringRef(qualified).rsplit("::");
  StringRef domain = tail.empty() ? StringRef() : head;
  StringRef op = tail.empty() ? head : tail;

  SmallVector<OpAsmParser::UnresolvedOperand> operands;
  SMLoc operandLoc = parser.getCurrentLocation();
  DictionaryAttr attrs = parser.getBuilder().getDictionaryAttr({});
  NamedAttrList parsed;
  if (parser.parseOperandList(operands, OpAsmParser::Delimiter::Paren) ||
      parser.parseOptionalAttrDict(parsed))
    return failure();
  if (!parsed.empty())
    attrs = parsed.getDictionary(parser.getContext());
  FunctionType type;
  if (parser.parseColonType(type))
    return failure();
  NameHints names;
  if (succeeded(parser.parseOptionalKeyword("names"))) {
    bool first = true;
    if (parser.parseCommaSeparatedList(OpAsmParser::Delimiter::Square,
                                       [&]() -> ParseResult {
                                         std::string name;
                                         if (parser.parseString(&name))
                                           return failure();
                                         if (first)
                                           names.node = name;
                                         else
                                           names.outputs.push_back(name);
                                         first = false;
                                         return success();
                                       }))
      return failure();
  }
  if (succeeded(parser.parseOptionalKeyword("comments")) &&
      parser.parseAttribute(names.comments))
    return failure();
  if (parser.parseOptionalAttrDictWithKeyword(result.attributes))
    return failure();
  while (true) {
    auto region = std::make_unique<Region>();
    OptionalParseResult parsedRegion = parser.parseOptionalRegion(*region);
    if (!parsedRegion.has_value())
      break;
    if (failed(*parsedRegion))
      return failure();
    result.addRegion(std::move(region));
  }
  auto &properties = result.getOrAddProperties<Properties>();
  properties.setOp(parser.getBuilder().getStringAttr(op));
  properties.setDomain(parser.getBuilder().getStringAttr(domain));
  properties.setVersion(parser.getBuilder().getI64IntegerAttr(version));
  properties.setAttrs(attrs);
  properties.setNames(std::move(names));
  result.addTypes(type.getResults());
  return parser.resolveOperands(operands, type.getInputs(), operandLoc,
                                result.operands);
}

//===----------------------------------------------------------------------===//
// AbsentOp
//===----------------------------------------------------------------------===//

OpFoldResult AbsentOp::fold(FoldAdaptor) { return UnitAttr::get(getContext()); }

Operation *ONNXDialect::materializeConstant(OpBuilder &builder, Attribute value,
                                            Type type, Location loc) {
  if (llvm::isa<UnitAttr>(value) && llvm::isa<NoneType>(type))
    return AbsentOp::create(builder, loc, builder.getNoneType());
  return nullptr;
}
