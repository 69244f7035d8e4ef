//===- CPUDialect.cpp - Dialect, attributes, operations -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/CPU/IR/CPU.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/InliningUtils.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::ffn;
using namespace mlir::ffn::cpu;

#include "ffn-mlir/Dialect/CPU/IR/CPUDialect.cpp.inc"
#include "ffn-mlir/Dialect/CPU/IR/CPUEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "ffn-mlir/Dialect/CPU/IR/CPUAttrs.cpp.inc"

#define GET_OP_CLASSES
#include "ffn-mlir/Dialect/CPU/IR/CPUOps.cpp.inc"

namespace {
struct CPUInlinerInterface : public DialectInlinerInterface {
  using DialectInlinerInterface::DialectInlinerInterface;
  bool isLegalToInline(Operation *, Operation *, bool) const override {
    return true;
  }
  bool isLegalToInline(Operation *, Region *, bool,
                       IRMapping &) const override {
    return true;
  }
};
} // namespace

void CPUDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ffn-mlir/Dialect/CPU/IR/CPUAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ffn-mlir/Dialect/CPU/IR/CPUOps.cpp.inc"
      >();
  addInterfaces<CPUInlinerInterface>();
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

/// Sizes up to here keep every byte count below 2^60.
static constexpr int64_t kMaxDim = int64_t(1) << 28;

static bool isDim(int64_t value) { return value > 0 && value <= kMaxDim; }

static bool isWeightElement(Type type) {
  return type.isF32() || type.isBF16() || type.isF16();
}

/// Why elements and groups of a weight are refused; empty if they are not.
static std::string findElementProblem(Type element, int64_t k, int64_t group) {
  std::string name;
  llvm::raw_string_ostream(name) << element;
  if (isWeightElement(element))
    return group ? "elements of type " + name + " have no groups" : "";
  if (!element.isSignlessInteger(8) && !element.isSignlessInteger(4))
    return "weights are f32, f16, bf16, i8 or i4, not " + name;
  if (!GemmAttr::canServeGroup(k, element.getIntOrFloatBitWidth(), group))
    return "groups of " + std::to_string(group) + " of " + std::to_string(k) +
           " elements of type " + name + " are not supported";
  return "";
}

bool GemmAttr::canServeGroup(int64_t k, int64_t bits, int64_t group) {
  if (k < 1 || (bits == 4 && k % 2 != 0))
    return false;
  return group == k ||
         (group >= 16 && group <= 1024 && llvm::isPowerOf2_64(group));
}

LogicalResult
PanelsAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                   int64_t n, int64_t k, int64_t lanes, int64_t vectors,
                   Type element, bool gated, int64_t group, bool quads) {
  if (!isDim(n) || k < 0 || k > kMaxDim)
    return emitError() << "panels of " << n << "x" << k << " are out of range";
  if ((lanes != 8 && lanes != 16) || vectors < 1 || vectors > 8 ||
      (gated && vectors % 2 != 0))
    return emitError() << "a panel of " << vectors << " vectors of " << lanes
                       << " is not supported";
  if (std::string problem = findElementProblem(element, k, group);
      !problem.empty())
    return emitError() << problem;
  if (quads && group == 0)
    return emitError() << "quads are of codes";
  return success();
}

LogicalResult
GemmAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                 Level level, int64_t n, int64_t k, int64_t rowStride,
                 Type element, Activation activation, bool gated, bool residual,
                 int64_t group, bool int8Rows) {
  if (!isDim(n) || k < 0 || k > kMaxDim)
    return emitError() << "gemm of " << n << "x" << k << " is out of range";
  if (std::string problem = findElementProblem(element, k, group);
      !problem.empty())
    return emitError() << problem;
  if (int8Rows && (group == 0 || k > kMaxInt8Depth))
    return emitError() << "rows of int8 are multiplied by codes, of "
                       << kMaxInt8Depth << " rows at most";
  int64_t words =
      int8Rows
          ? QuantizeAttr::get(element.getContext(), level, k, group).getWords()
          : k;
  if (rowStride < words || rowStride > 2 * kMaxDim)
    return emitError() << "gemm of " << n << "x" << k << ", row stride "
                       << rowStride << ", is out of range";
  return success();
}

PanelsAttr GemmAttr::getPanels() const {
  int64_t lanes = getLanes(getLevel());
  int64_t vectors = lanes == 16 && !getGated() ? 3 : 2;
  // A narrow output would spend most of a wide panel on padding.
  if (!getGated() && getN() <= lanes)
    vectors = 1;
  else if (!getGated() && getN() <= 2 * lanes)
    vectors = 2;
  return PanelsAttr::get(getContext(), getN(), getK(), lanes, vectors,
                         getElement(), getGated(), getGroup(), getInt8Rows());
}

QuantizeAttr GemmAttr::getQuantize() const {
  return QuantizeAttr::get(getContext(), getLevel(), getK(), getGroup());
}

LogicalResult
RouteAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                  Level level, int64_t experts, int64_t always, int64_t topK,
                  Gating gating, bool magnitude, bool selection, bool weighted,
                  bool normalize, FloatAttr scale) {
  constexpr int64_t most = 1 << 16;
  if (experts < 1 || experts > most || always < 0 || always > most ||
      topK < 1 || topK > experts)
    return emitError() << "a route to " << topK << " of " << experts
                       << " experts and " << always
                       << " other groups is not supported";
  if (normalize && !weighted)
    return emitError() << "only weights are normalized";
  if (scale && !scale.getType().isF64())
    return emitError() << "scale of a route is an f64";
  return success();
}

LogicalResult
GroupedAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                    GemmAttr product, int64_t groups, int64_t active,
                    bool byDepth, bool weighted) {
  if (!product || product.getGroup() != 0)
    return emitError() << "a grouped product is of floats";
  int64_t size = byDepth ? product.getK() : product.getN();
  if (groups < 1 || active < 1 || active > groups || size % groups != 0 ||
      size == 0)
    return emitError() << active << " of " << groups << " groups of " << size
                       << " neurons are not supported";
  int64_t columns = product.getPanels().getColumns();
  if (!byDepth && size / groups % columns != 0)
    return emitError() << "groups of " << size / groups
                       << " columns do not end with a panel of " << columns;
  if (byDepth ? weighted : product.getResidual())
    return emitError() << "weights are multiplied to the columns of groups, "
                          "residuals added to their sum";
  return success();
}

LogicalResult
QuantizeAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                     Level level, int64_t width, int64_t group) {
  if (!isDim(width) || !GemmAttr::canServeGroup(width, 8, group))
    return emitError() << "rows of " << width << " in groups of " << group
                       << " are not supported";
  return success();
}

LogicalResult
NormAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                 Level level, NormKind kind, int64_t width, FloatAttr eps,
                 bool outerEps, bool scale, bool bias) {
  if (!isDim(width))
    return emitError() << "norm of width " << width << " is out of range";
  if (!eps || !eps.getType().isF64())
    return emitError() << "eps of a norm is an f64";
  return success();
}

LogicalResult
SoftmaxAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                    Level level) {
  return success();
}

LogicalResult
AttentionAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                      Level level, int64_t headSize, int64_t valueSize,
                      int64_t group, FloatAttr scale, bool causal,
                      MaskKind mask, bool querySeqFirst, bool keySeqFirst,
                      bool valueSeqFirst, bool resultSeqFirst) {
  if (headSize < 1 || headSize > 512 || valueSize < 1 || valueSize > 512)
    return emitError() << "attention with heads of " << headSize << " and "
                       << valueSize << " is not supported (1 to 512)";
  if (!isDim(group))
    return emitError() << "attention with groups of " << group
                       << " heads is out of range";
  if (!scale || !scale.getType().isF64())
    return emitError() << "scale of attention is an f64";
  return success();
}

LogicalResult
AppendAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                   Level level, int64_t rank, int64_t axis, bool swapped) {
  if (rank < 2 || rank > 16 || axis < 0 || axis >= rank - 1)
    return emitError() << "append along axis " << axis << " of rank " << rank
                       << " is not supported (any but the last)";
  if (swapped && rank < 4)
    return emitError() << "dimensions 1 and 2 are exchanged in rank 4 and more";
  return success();
}

/// Loops are numbers, and most operands have few: a bit for each.
static constexpr int64_t kMaxProductRank = 16;

StringRef ProductAttr::findProblem(int64_t rank, ArrayRef<int64_t> a,
                                   ArrayRef<int64_t> b) {
  if (rank < 2 || rank > kMaxProductRank)
    return "ranks from 2 to 16 are supported";
  uint64_t seen[2] = {0, 0};
  ArrayRef<int64_t> operands[2] = {a, b};
  for (int i = 0; i < 2; ++i)
    for (int64_t loop : operands[i]) {
      if (loop < -1 || loop > rank || (loop >= 0 && (seen[i] >> loop & 1) != 0))
        return "a loop of an operand is out of range or there twice";
      if (loop >= 0)
        seen[i] |= uint64_t(1) << loop;
    }
  uint64_t sum = uint64_t(1) << rank, columns = sum >> 1;
  if ((seen[0] & seen[1] & sum) == 0)
    return "the sum is not in both operands";
  if ((seen[0] & columns) != 0 || (seen[1] & columns) == 0)
    return "the columns are not in b alone";
  if ((seen[0] & ~seen[1]) == 0)
    return "no loop is in a alone";
  if (b.back() < rank - 1)
    return "the last dimension of b is neither the columns nor the sum";
  return "";
}

LogicalResult
ProductAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                    Level level, int64_t rank, DenseI64ArrayAttr a,
                    DenseI64ArrayAttr b) {
  if (!a || !b)
    return emitError() << "product needs the loops of both operands";
  StringRef problem = findProblem(rank, a, b);
  if (!problem.empty())
    return emitError() << "product is not served: " << problem;
  return success();
}

int64_t ProductAttr::getRowLoop() const {
  int64_t row = -1;
  for (int64_t loop : getA().asArrayRef())
    if (!llvm::is_contained(getB().asArrayRef(), loop))
      row = std::max(row, loop);
  return row;
}

//===----------------------------------------------------------------------===//
// Arguments of kernels
//===----------------------------------------------------------------------===//

/// Memref of any offset whose inner stride is 1, outer strides dynamic unless
/// `rowStride` says otherwise.
static MemRefType rowsOf(ArrayRef<int64_t> shape, Type element,
                         int64_t rowStride = ShapedType::kDynamic) {
  SmallVector<int64_t> strides(shape.size(), ShapedType::kDynamic);
  strides.back() = 1;
  if (shape.size() == 2)
    strides[0] = rowStride;
  return MemRefType::get(shape, element,
                         StridedLayoutAttr::get(element.getContext(),
                                                ShapedType::kDynamic, strides));
}

SmallVector<MemRefType> cpu::getKernelArgumentTypes(Attribute key) {
  constexpr int64_t dyn = ShapedType::kDynamic;
  Type f32 = Float32Type::get(key.getContext()),
       i32 = IntegerType::get(key.getContext(), 32);
  SmallVector<MemRefType> types;
  llvm::TypeSwitch<Attribute>(key)
      .Case([&](GemmAttr gemm) {
        if (gemm.getInt8Rows())
          types.push_back(rowsOf({dyn, gemm.getQuantize().getWords()}, i32,
                                 gemm.getRowStride()));
        else
          types.push_back(rowsOf({dyn, gemm.getK()}, f32, gemm.getRowStride()));
        types.push_back(MemRefType::get({gemm.getPanels().getTotalBytes()},
                                        IntegerType::get(key.getContext(), 8)));
        if (gemm.getResidual())
          types.push_back(rowsOf({dyn, gemm.getN()}, f32));
        types.push_back(rowsOf({dyn, gemm.getN()}, f32));
      })
      .Case([&](RouteAttr route) {
        int64_t active = route.getActive();
        types.push_back(rowsOf({dyn, route.getExperts()}, f32));
        if (route.getSelection())
          types.push_back(rowsOf({route.getExperts()}, f32));
        types.push_back(rowsOf({dyn, route.getTopK()}, i32));
        types.push_back(rowsOf({dyn, active}, i32, active));
        types.push_back(rowsOf({dyn, route.getGroups()}, i32));
        if (route.getScaled())
          types.push_back(rowsOf({dyn, active}, f32, active));
      })
      .Case([&](GroupedAttr grouped) {
        GemmAttr gemm = grouped.getProduct();
        int64_t active = grouped.getActive(),
                entries = active * grouped.getWidth();
        if (grouped.getByDepth())
          types.push_back(rowsOf({dyn, entries}, f32, entries));
        else
          types.push_back(rowsOf({dyn, gemm.getK()}, f32));
        types.push_back(MemRefType::get({gemm.getPanels().getTotalBytes()},
                                        IntegerType::get(key.getContext(), 8)));
        types.push_back(rowsOf({dyn, active}, i32, active));
        types.push_back(rowsOf({dyn, grouped.getGroups()}, i32));
        if (grouped.getWeighted())
          types.push_back(rowsOf({dyn, active}, f32, active));
        if (gemm.getResidual())
          types.push_back(rowsOf({dyn, gemm.getN()}, f32));
        types.push_back(grouped.getByDepth()
                            ? rowsOf({dyn, gemm.getN()}, f32)
                            : rowsOf({dyn, entries}, f32, entries));
      })
      .Case([&](QuantizeAttr quantize) {
        types.push_back(rowsOf({dyn, quantize.getWidth()}, f32));
        types.push_back(rowsOf({dyn, quantize.getWords()}, i32));
      })
      .Case([&](NormAttr norm) {
        int64_t width = norm.getWidth();
        types.push_back(rowsOf({dyn, width}, f32));
        if (norm.getScale())
          types.push_back(rowsOf({width}, f32));
        if (norm.getBias())
          types.push_back(rowsOf({width}, f32));
        types.push_back(rowsOf({dyn, width}, f32));
      })
      .Case([&](ProductAttr product) {
        for (int64_t rank :
             {product.getA().size(), product.getB().size(), product.getRank()})
          types.push_back(rowsOf(SmallVector<int64_t>(rank, dyn), f32));
      })
      .Case([&](AppendAttr append) {
        types.assign(3,
                     rowsOf(SmallVector<int64_t>(append.getRank(), dyn), f32));
      })
      .Case([&](SoftmaxAttr) { types.assign(2, rowsOf({dyn, dyn}, f32)); })
      .Case([&](AttentionAttr attention) {
        int64_t d = attention.getHeadSize(), e = attention.getValueSize();
        types.push_back(rowsOf({dyn, dyn, dyn, d}, f32));
        types.push_back(rowsOf({dyn, dyn, dyn, d}, f32));
        types.push_back(rowsOf({dyn, dyn, dyn, e}, f32));
        if (attention.getMask() != MaskKind::None) {
          Type element = attention.getMask() == MaskKind::Additive
                             ? f32
                             : Type(IntegerType::get(key.getContext(), 1));
          types.push_back(
              MemRefType::get({dyn, dyn, dyn, dyn}, element,
                              StridedLayoutAttr::get(key.getContext(), dyn,
                                                     {dyn, dyn, dyn, dyn})));
        }
        types.push_back(rowsOf({dyn, dyn, dyn, e}, f32));
      })
      .Default([](Attribute) {});
  return types;
}

unsigned cpu::getNumKernelOutputs(Attribute key) {
  if (auto route = llvm::dyn_cast<RouteAttr>(key))
    return route.getScaled() ? 4 : 3;
  return 1;
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

LogicalResult PackOp::verify() {
  auto memref = llvm::cast<MemRefType>(getResult().getType());
  if (!memref.getLayout().isIdentity())
    return emitOpError("result must be contiguous");
  PanelsAttr panels = getPanelsAttr();
  if (!panels) {
    if (getWeights().size() != 1 || !getBiases().empty())
      return emitOpError("without panels takes one weight and no bias");
    auto type = llvm::cast<ShapedType>(getWeights()[0].getType());
    if (type.getShape() != memref.getShape() ||
        type.getElementType() != memref.getElementType())
      return emitOpError("without panels keeps shape and element type");
    return success();
  }
  unsigned count = panels.getGated() ? 2 : 1;
  if (getWeights().size() != count)
    return emitOpError() << "needs " << count << " weights, has "
                         << getWeights().size();
  if (!getBiases().empty() && getBiases().size() != count)
    return emitOpError() << "needs no bias or " << count << ", has "
                         << getBiases().size();
  if (panels.isQuantized())
    for (Value weight : getWeights()) {
      auto codes = weight.getDefiningOp<DequantizeOp>();
      if (!codes || codes.getBits() > panels.getElementBits() ||
          codes.getGroup() != panels.getGroup())
        return emitOpError() << "weight must be dequantized from groups of "
                             << panels.getGroup() << ", "
                             << panels.getElementBits() << " bits at most";
    }
  auto isFloat = [](Type type) {
    return type.isF64() || isWeightElement(type);
  };
  for (Value weight : getWeights()) {
    auto type = llvm::cast<ShapedType>(weight.getType());
    if (type.getShape() != ArrayRef<int64_t>{panels.getN(), panels.getK()} ||
        !isFloat(type.getElementType()))
      return emitOpError() << "weight must be floating, " << panels.getN()
                           << "x" << panels.getK() << ", is " << type;
  }
  for (Value bias : getBiases()) {
    auto type = llvm::cast<ShapedType>(bias.getType());
    if (type.getShape() != ArrayRef<int64_t>{panels.getN()} ||
        !isFloat(type.getElementType()))
      return emitOpError() << "bias must be a floating vector of "
                           << panels.getN() << ", is " << type;
  }
  if (memref.getRank() != 1 || !memref.getElementType().isInteger(8) ||
      memref.getDimSize(0) != panels.getTotalBytes())
    return emitOpError() << "result must be memref<" << panels.getTotalBytes()
                         << "xi8>";
  return success();
}

LogicalResult PackedWeightOp::verify() {
  if (getOffset() % 64 != 0 || getOffsetAttr().getValue().isNegative())
    return emitOpError("offset must be a multiple of 64");
  if (!llvm::cast<MemRefType>(getResult().getType()).getLayout().isIdentity())
    return emitOpError("result must be contiguous");
  return success();
}

LogicalResult KernelCallOp::verify() {
  SmallVector<MemRefType> types = getKernelArgumentTypes(getKernel());
  if (types.empty())
    return emitOpError() << "does not know the kernel " << getKernel();
  unsigned numOutputs = getNumKernelOutputs(getKernel());
  if (getInputs().size() + getOutputs().size() != types.size() ||
      getOutputs().size() != numOutputs)
    return emitOpError() << "kernel takes " << types.size() - numOutputs
                         << " inputs and " << numOutputs << " outputs";
  unsigned i = 0;
  for (ValueRange range : {ValueRange(getInputs()), ValueRange(getOutputs())})
    for (Value value : range) {
      MemRefType expected = types[i++];
      auto type = llvm::dyn_cast<ShapedType>(value.getType());
      if (!type || !type.hasRank() ||
          type.getElementType() != expected.getElementType() ||
          failed(verifyCompatibleShape(type.getShape(), expected.getShape())))
        return emitOpError() << "operand " << i - 1 << " must be like "
                             << expected << ", is " << value.getType();
    }
  unsigned numTensors = 0;
  for (Value value : getOutputs()) {
    if (!llvm::isa<RankedTensorType>(value.getType()))
      continue;
    if (numTensors >= getResults().size() ||
        getResults()[numTensors].getType() != value.getType())
      return emitOpError("results must be the types of the tensor outs");
    ++numTensors;
  }
  if (numTensors != getResults().size())
    return emitOpError("has a result without a tensor out");
  return success();
}

void KernelCallOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  for (OpOperand &operand : getInputsMutable())
    if (llvm::isa<MemRefType>(operand.get().getType()))
      effects.emplace_back(MemoryEffects::Read::get(), &operand,
                           SideEffects::DefaultResource::get());
  for (OpOperand &operand : getOutputsMutable())
    if (llvm::isa<MemRefType>(operand.get().getType()))
      effects.emplace_back(MemoryEffects::Write::get(), &operand,
                           SideEffects::DefaultResource::get());
}
