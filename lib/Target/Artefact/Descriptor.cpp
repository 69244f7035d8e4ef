//===- Descriptor.cpp - What an artefact says of itself -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Target/Descriptor.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Support/LLVM.h"
#include "llvm/ADT/STLExtras.h"
#include <array>

using namespace mlir;
using namespace mlir::ffn;

std::optional<DescriptorType> mlir::ffn::getDescriptorType(Type elementType) {
  if (auto integer = llvm::dyn_cast<IntegerType>(elementType)) {
    unsigned width = integer.getWidth();
    if (width == 1)
      return DescriptorType{6, 8};
    if (width != 8 && width != 16 && width != 32 && width != 64)
      return std::nullopt;
    return DescriptorType{static_cast<uint8_t>(integer.isUnsigned() ? 1 : 0),
                          static_cast<uint8_t>(width)};
  }
  if (elementType.isBF16())
    return DescriptorType{4, 16};
  if (elementType.isF16() || elementType.isF32() || elementType.isF64())
    return DescriptorType{
        2, static_cast<uint8_t>(elementType.getIntOrFloatBitWidth())};
  return std::nullopt;
}

namespace {
/// Operations of the stack machine; shared with runtime/Descriptor.cpp by the
/// format, not by code.
enum Operation : uint8_t { Constant, Symbol, Add, Mul, FloorDiv, Max, Min };

class Writer {
public:
  explicit Writer(std::vector<uint8_t> &bytes) : bytes(bytes) {}
  template <typename T> void number(T value) {
    for (unsigned i = 0; i < sizeof(T); ++i)
      bytes.push_back(
          static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i)));
  }
  void string(StringRef text) {
    number<uint32_t>(text.size());
    bytes.insert(bytes.end(), text.bytes_begin(), text.bytes_end());
    bytes.push_back(0);
  }

private:
  std::vector<uint8_t> &bytes;
};

using Program = std::vector<std::pair<uint8_t, int64_t>>;

/// Appends `expr` to `program`; false for an unknown symbol or atom.
bool compileDim(const DimExpr &expr, ArrayRef<DescriptorSymbol> symbols,
                Program &program, std::string &error, unsigned depth = 0) {
  if (!expr.isKnown() || depth > 16) {
    error = "a dimension is not an expression of the input dimensions";
    return false;
  }
  if (expr.terms().empty()) {
    program.push_back({Constant, 0});
    return true;
  }
  bool first = true;
  for (const auto &[monomial, coefficient] : expr.terms()) {
    program.push_back({Constant, coefficient});
    for (const auto &factor : monomial) {
      const std::string &atom = factor.first;
      for (unsigned i = 0; i < factor.second; ++i) {
        if (const DimExpr::Opaque *opaque = expr.getOpaque(atom)) {
          bool firstOperand = true;
          for (const DimExpr &operand : opaque->operands) {
            if (!compileDim(operand, symbols, program, error, depth + 1))
              return false;
            if (!firstOperand)
              program.push_back({opaque->kind == DimExpr::Opaque::FloorDiv
                                     ? FloorDiv
                                 : opaque->kind == DimExpr::Opaque::Max ? Max
                                                                        : Min,
                                 0});
            firstOperand = false;
          }
        } else {
          const DescriptorSymbol *found =
              llvm::find_if(symbols, [&](const DescriptorSymbol &symbol) {
                return symbol.name == atom;
              });
          if (found == symbols.end()) {
            error = "no input dimension is the bare symbol '" + atom + "'";
            return false;
          }
          program.push_back({Symbol, found - symbols.begin()});
        }
        program.push_back({Mul, 0});
      }
    }
    if (!first)
      program.push_back({Add, 0});
    first = false;
  }
  return true;
}
} // namespace

LogicalResult ModelDescriptor::serialize(std::vector<uint8_t> &bytes,
                                         std::string &error) const {
  Writer out(bytes);
  out.number(kDescriptorMagic);
  out.number(kDescriptorVersion);
  out.string(producer);
  out.string(level);
  out.string(numerics);
  out.number<uint32_t>(features.size());
  for (const std::string &feature : features)
    out.string(feature);
  out.number<uint32_t>(symbols.size());
  for (const DescriptorSymbol &symbol : symbols) {
    out.string(symbol.name);
    out.number(symbol.input);
    out.number(symbol.dim);
  }
  for (const std::vector<DescriptorValue> *values : {&inputs, &outputs}) {
    out.number<uint32_t>(values->size());
    for (const DescriptorValue &value : *values) {
      out.string(value.name);
      out.number(value.type.code);
      out.number(value.type.bits);
      out.number<uint32_t>(value.dims.size());
      for (const DimExpr &dim : value.dims) {
        Program program;
        if (!compileDim(dim, symbols, program, error)) {
          error = "'" + value.name + "': " + error;
          return failure();
        }
        out.string(dim.getConstant() ? std::string() : dim.str());
        out.number<uint32_t>(program.size());
        for (auto [operation, operand] : program) {
          out.number(operation);
          out.number(operand);
        }
      }
    }
  }
  out.number(weightBytes);
  out.string(weightsFile);
  out.number(weightsChecksum);
  out.number<uint32_t>(appends.size());
  for (const DescriptorAppend &append : appends) {
    out.number(append.input);
    out.number(append.output);
    out.number(append.axis);
  }
  return success();
}

uint32_t mlir::ffn::crc32c(ArrayRef<char> bytes, uint32_t crc) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> entries{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit)
        value = (value >> 1) ^ ((value & 1) ? 0x82f63b78u : 0);
      entries[i] = value;
    }
    return entries;
  }();
  crc = ~crc;
  for (char byte : bytes)
    crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~crc;
}
