//===- ModelScope.cpp - Types, sizes and checks of a lowered model --------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ModelLowering.h"
#include "ffn-mlir/Dialect/ONNX/IR/Origin.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::ffn;

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

Type mlir::ffn::convertElementType(Type type) {
  if (auto integer = llvm::dyn_cast<IntegerType>(type)) {
    unsigned width = integer.getWidth();
    if (width == 1)
      return IntegerType::get(type.getContext(), 8);
    if (width != 8 && width != 16 && width != 32 && width != 64)
      return {};
    return IntegerType::get(type.getContext(), width);
  }
  return type.isF16() || type.isBF16() || type.isF32() || type.isF64() ? type
                                                                       : Type();
}

RankedTensorType mlir::ffn::convertTensorType(Type type) {
  auto ranked = llvm::dyn_cast<RankedTensorType>(type);
  Type element = ranked ? convertElementType(ranked.getElementType()) : Type();
  return element ? RankedTensorType::get(ranked.getShape(), element)
                 : RankedTensorType();
}

//===----------------------------------------------------------------------===//
// Descriptors
//===----------------------------------------------------------------------===//

Value mlir::ffn::descriptorWord(OpBuilder &builder, Location loc,
                                Value arguments, int64_t index, int64_t word,
                                Type type) {
  auto ptr = LLVM::LLVMPointerType::get(builder.getContext());
  auto at = [&](Value base, Type element, int64_t i) -> Value {
    return LLVM::GEPOp::create(builder, loc, ptr, element, base,
                               ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(i)});
  };
  Value descriptor =
      LLVM::LoadOp::create(builder, loc, ptr, at(arguments, ptr, index));
  return LLVM::LoadOp::create(builder, loc, type,
                              at(descriptor, builder.getI64Type(), word));
}

Value mlir::ffn::wrapPointer(OpBuilder &builder, Location loc, Value pointer,
                             MemRefType type, ArrayRef<OpFoldResult> sizes,
                             ValueRange strides) {
  MLIRContext *ctx = builder.getContext();
  auto ptr = LLVM::LLVMPointerType::get(ctx);
  Type i64 = builder.getI64Type();
  int64_t rank = type.getRank();
  SmallVector<Type> fields{ptr, ptr, i64};
  if (rank) {
    fields.push_back(LLVM::LLVMArrayType::get(i64, rank));
    fields.push_back(LLVM::LLVMArrayType::get(i64, rank));
  }
  auto structType = LLVM::LLVMStructType::getLiteral(ctx, fields);
  Value d = LLVM::PoisonOp::create(builder, loc, structType);
  auto insert = [&](Value value, ArrayRef<int64_t> position) {
    d = LLVM::InsertValueOp::create(builder, loc, d, value, position);
  };
  auto word = [&](OpFoldResult size) -> Value {
    if (std::optional<int64_t> constant = getConstantIntValue(size))
      return LLVM::ConstantOp::create(builder, loc, i64,
                                      builder.getI64IntegerAttr(*constant));
    return arith::IndexCastOp::create(builder, loc, i64,
                                      llvm::cast<Value>(size));
  };
  insert(pointer, {0});
  insert(pointer, {1});
  insert(word(builder.getIndexAttr(0)), {2});
  Value stride = word(builder.getIndexAttr(1));
  for (int64_t i = rank - 1; i >= 0; --i) {
    insert(word(sizes[i]), {3, i});
    insert(strides.empty() ? stride : strides[i], {4, i});
    if (i > 0 && strides.empty())
      stride = LLVM::MulOp::create(builder, loc, stride, word(sizes[i]));
  }
  return UnrealizedConversionCastOp::create(builder, loc, TypeRange{type},
                                            ValueRange{d})
      .getResult(0);
}

//===----------------------------------------------------------------------===//
// Scope
//===----------------------------------------------------------------------===//

SmallVector<OpFoldResult> ModelScope::sizes(Location loc, Value tensor) {
  if (auto it = known.find(tensor); it != known.end())
    return it->second;
  SmallVector<OpFoldResult> result;
  if (auto cast = tensor.getDefiningOp<tensor::CastOp>()) {
    result = sizes(loc, cast.getSource());
  } else {
    RankedTensorType type = tensorType(tensor);
    OpBuilder::InsertionGuard guard(builder);
    for (auto [i, dim] : llvm::enumerate(type.getShape())) {
      if (!ShapedType::isDynamic(dim)) {
        result.push_back(builder.getIndexAttr(dim));
        continue;
      }
      builder.setInsertionPointAfterValue(tensor);
      result.push_back(
          tensor::DimOp::create(builder, loc, tensor, i).getResult());
    }
  }
  known[tensor] = result;
  return result;
}

std::string ModelScope::locate(Location loc, Operation *op) const {
  std::string origin = onnx::describeOrigin(loc);
  // Text that was read without locations has names of its own.
  if (auto node = llvm::dyn_cast_if_present<onnx::NodeOp>(op);
      node && origin.empty())
    origin = node.describe();
  return origin.empty() ? graph : graph + ", " + origin;
}

void ModelScope::check(Location loc, Value condition,
                       LowerScope::CheckKind kind, Operation *op) {
  if (auto constant = condition.getDefiningOp<arith::ConstantOp>())
    if (auto value = llvm::dyn_cast<IntegerAttr>(constant.getValue()))
      if (!value.getValue().isZero())
        return;
  Value code = arith::ConstantOp::create(
      builder, loc, builder.getI32IntegerAttr(static_cast<int>(kind)));
  std::string where = locate(loc, op);
  LLVM::GlobalOp &text = texts[where];
  if (!text) {
    auto module =
        builder.getInsertionBlock()->getParentOp()->getParentOfType<ModuleOp>();
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(module.getBody());
    // With the NUL at its end.
    StringRef bytes(where.c_str(), where.size() + 1);
    text = LLVM::GlobalOp::create(
        builder, loc,
        LLVM::LLVMArrayType::get(builder.getI8Type(), bytes.size()),
        /*isConstant=*/true, LLVM::Linkage::Private,
        "ffn_where_" + std::to_string(texts.size()),
        builder.getStringAttr(bytes));
  }
  Value address = LLVM::AddressOfOp::create(builder, loc, text);
  func::CallOp::create(builder, loc, "ffn_rt_check", TypeRange{},
                       ValueRange{condition, code, address});
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

RankedTensorType LowerContext::resultType(unsigned i) {
  if (i >= node.getNumResults())
    return {};
  if (RankedTensorType type = convertTensorType(node.getResult(i).getType()))
    return type;
  const SymValue &value = symOutput(i);
  Type element =
      value.elementType ? convertElementType(value.elementType) : Type();
  if (!element || !value.hasRank())
    return {};
  SmallVector<int64_t> shape;
  for (const DimExpr &dim : *value.dims)
    shape.push_back(dim.getConstant().value_or(ShapedType::kDynamic));
  return RankedTensorType::get(shape, element);
}

Type LowerContext::resultElementType(unsigned i) {
  RankedTensorType type = resultType(i);
  return type ? type.getElementType() : Type();
}

bool LowerContext::isUnsigned(unsigned i) {
  Value value = node.getInput(i);
  auto type =
      value ? llvm::dyn_cast<ShapedType>(value.getType()) : ShapedType();
  return type && (type.getElementType().isUnsignedInteger() ||
                  type.getElementType().isInteger(1));
}

LogicalResult LowerContext::unsupported(const llvm::Twine &why) {
  return reportUnsupported(node, why);
}
