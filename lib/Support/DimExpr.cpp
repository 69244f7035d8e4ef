//===- DimExpr.cpp - Symbolic sizes ---------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/DimExpr.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include <limits>
#include <numeric>

using namespace mlir::ffn;
using llvm::StringRef;

namespace {
/// Beyond these an expression is unknown: products of sums and nested divisions
/// grow exponentially with the length of a text.
constexpr size_t kMaxTerms = 64;
constexpr unsigned kMaxDegree = 16;
constexpr size_t kMaxOpaqueText = 512;
/// First character of the key of an opaque atom; no symbol starts with it.
constexpr char kOpaqueMark = '\x01';
} // namespace

static bool isOpaqueKey(StringRef key) {
  return !key.empty() && key.front() == kOpaqueMark;
}

static unsigned getDegree(const DimExpr::Monomial &monomial) {
  unsigned degree = 0;
  for (const auto &factor : monomial)
    degree += factor.second;
  return degree;
}

static bool isIdentifier(StringRef text) {
  return !text.empty() && (llvm::isAlpha(text[0]) || text[0] == '_') &&
         llvm::all_of(text, [](char c) {
           return llvm::isAlnum(c) || c == '_' || c == '.';
         });
}

static bool isReserved(StringRef text) {
  return text == "floordiv" || text == "max" || text == "min" ||
         text == "Max" || text == "Min";
}

//===----------------------------------------------------------------------===//
// Construction
//===----------------------------------------------------------------------===//

DimExpr::DimExpr(int64_t constant) : known(true) {
  if (constant != 0)
    polynomial[{}] = constant;
}

DimExpr DimExpr::symbol(StringRef name) {
  DimExpr result;
  if (name.empty() || isOpaqueKey(name))
    return result;
  result.known = true;
  result.polynomial[{{name.str(), 1}}] = 1;
  return result;
}

void DimExpr::addTerm(const Monomial &monomial, int64_t coefficient) {
  auto [it, inserted] = polynomial.try_emplace(monomial, coefficient);
  if (!inserted &&
      __builtin_add_overflow(it->second, coefficient, &it->second)) {
    *this = DimExpr();
    return;
  }
  if (it->second == 0)
    polynomial.erase(it);
}

void DimExpr::takeOpaques(const DimExpr &other) {
  for (const auto &entry : other.opaques)
    opaques.insert(entry);
}

/// Also drops atoms that cancelled out.
void DimExpr::checkLimits() {
  if (!known)
    return;
  bool fits = polynomial.size() <= kMaxTerms;
  for (const auto &term : polynomial)
    fits &= getDegree(term.first) <= kMaxDegree;
  if (!fits) {
    *this = DimExpr();
    return;
  }
  if (opaques.empty())
    return;
  for (auto it = opaques.begin(); it != opaques.end();) {
    bool used = llvm::any_of(polynomial, [&](const auto &term) {
      return term.first.count(it->first) != 0;
    });
    it = used ? std::next(it) : opaques.erase(it);
  }
}

static StringRef getSpelling(DimExpr::Opaque::Kind kind) {
  switch (kind) {
  case DimExpr::Opaque::Max:
    return "max";
  case DimExpr::Opaque::Min:
    return "min";
  case DimExpr::Opaque::FloorDiv:
    break;
  }
  return "floordiv";
}

static std::string parenthesize(const DimExpr &operand) {
  if (operand.getSymbol() || operand.getConstant().value_or(-1) >= 0)
    return operand.str();
  return "(" + operand.str() + ")";
}

static std::string getText(const DimExpr::Opaque &opaque) {
  if (opaque.kind == DimExpr::Opaque::FloorDiv)
    return parenthesize(opaque.operands[0]) + " floordiv " +
           parenthesize(opaque.operands[1]);
  return (getSpelling(opaque.kind) + "(" + opaque.operands[0].str() + ", " +
          opaque.operands[1].str() + ")")
      .str();
}

DimExpr DimExpr::makeOpaque(Opaque::Kind kind, std::vector<DimExpr> operands) {
  DimExpr result;
  size_t length = 0;
  for (const DimExpr &operand : operands) {
    if (!operand.known)
      return result;
    for (const auto &term : operand.polynomial)
      for (const auto &factor : term.first)
        length += factor.first.size();
  }
  // A sum of lengths before the text is built, so that no long text ever is.
  if (length > kMaxOpaqueText)
    return result;
  auto opaque = std::make_shared<Opaque>(Opaque{kind, std::move(operands)});
  std::string text = getText(*opaque);
  if (text.size() > kMaxOpaqueText)
    return result;
  std::string key = kOpaqueMark + text;
  result.known = true;
  result.polynomial[{{key, 1}}] = 1;
  result.opaques[key] = std::move(opaque);
  return result;
}

//===----------------------------------------------------------------------===//
// Queries
//===----------------------------------------------------------------------===//

std::optional<int64_t> DimExpr::getConstant() const {
  if (!known)
    return std::nullopt;
  if (polynomial.empty())
    return 0;
  if (polynomial.size() == 1 && polynomial.begin()->first.empty())
    return polynomial.begin()->second;
  return std::nullopt;
}

std::optional<std::string> DimExpr::getSymbol() const {
  if (!known || polynomial.size() != 1 || polynomial.begin()->second != 1)
    return std::nullopt;
  const Monomial &monomial = polynomial.begin()->first;
  if (monomial.size() != 1 || monomial.begin()->second != 1 ||
      isOpaqueKey(monomial.begin()->first))
    return std::nullopt;
  return monomial.begin()->first;
}

const DimExpr::Opaque *DimExpr::getOpaque(StringRef key) const {
  auto it = opaques.find(key.str());
  return it == opaques.end() ? nullptr : it->second.get();
}

bool DimExpr::operator==(const DimExpr &rhs) const {
  return known && rhs.known && polynomial == rhs.polynomial;
}

/// Every coefficient at least zero, every atom at least zero.
bool DimExpr::hasNonNegativeTerms() const {
  for (const auto &[monomial, coefficient] : polynomial) {
    if (coefficient < 0)
      return false;
    for (const auto &factor : monomial) {
      const Opaque *opaque = getOpaque(factor.first);
      if (!opaque || factor.second % 2 == 0)
        continue;
      const DimExpr &a = opaque->operands[0], &b = opaque->operands[1];
      bool first = a.hasNonNegativeTerms(), second = b.hasNonNegativeTerms();
      if (opaque->kind == Opaque::Max ? !(first || second) : !(first && second))
        return false;
    }
  }
  return true;
}

bool DimExpr::isNonNegative() const { return known && hasNonNegativeTerms(); }

bool DimExpr::isPositiveForPositiveSymbols() const {
  if (!isNonNegative())
    return false;
  // One term whose atoms are all at least one carries the sum.
  return llvm::any_of(polynomial, [&](const auto &term) {
    return llvm::all_of(term.first, [&](const auto &factor) {
      return !isOpaqueKey(factor.first);
    });
  });
}

void DimExpr::forEachSymbol(llvm::function_ref<void(StringRef)> visit) const {
  for (const auto &term : polynomial)
    for (const auto &factor : term.first) {
      if (const Opaque *opaque = getOpaque(factor.first)) {
        for (const DimExpr &operand : opaque->operands)
          operand.forEachSymbol(visit);
        continue;
      }
      visit(factor.first);
    }
}

std::optional<int64_t> DimExpr::evaluate(
    llvm::function_ref<std::optional<int64_t>(StringRef)> values) const {
  if (!known)
    return std::nullopt;
  int64_t sum = 0;
  for (const auto &[monomial, coefficient] : polynomial) {
    int64_t product = coefficient;
    for (const auto &[atom, power] : monomial) {
      std::optional<int64_t> value;
      if (const Opaque *opaque = getOpaque(atom)) {
        auto a = opaque->operands[0].evaluate(values);
        auto b = opaque->operands[1].evaluate(values);
        if (!a || !b)
          return std::nullopt;
        if (opaque->kind == Opaque::Max)
          value = std::max(*a, *b);
        else if (opaque->kind == Opaque::Min)
          value = std::min(*a, *b);
        else if (*b == 0 || (*b == -1 && *a == INT64_MIN))
          return std::nullopt;
        else
          value = llvm::divideFloorSigned(*a, *b);
      } else {
        value = values(atom);
      }
      if (!value)
        return std::nullopt;
      for (unsigned i = 0; i < power; ++i)
        if (__builtin_mul_overflow(product, *value, &product))
          return std::nullopt;
    }
    if (__builtin_add_overflow(sum, product, &sum))
      return std::nullopt;
  }
  return sum;
}

DimExpr DimExpr::substitute(
    llvm::function_ref<std::optional<DimExpr>(StringRef)> values) const {
  if (!known)
    return {};
  DimExpr sum(0);
  for (const auto &[monomial, coefficient] : polynomial) {
    DimExpr product(coefficient);
    for (const auto &[atom, power] : monomial) {
      DimExpr value;
      if (const Opaque *opaque = getOpaque(atom)) {
        DimExpr a = opaque->operands[0].substitute(values);
        DimExpr b = opaque->operands[1].substitute(values);
        value = opaque->kind == Opaque::Max   ? max(a, b)
                : opaque->kind == Opaque::Min ? min(a, b)
                                              : a.floorDiv(b);
      } else if (std::optional<DimExpr> replaced = values(atom)) {
        value = *replaced;
      } else {
        value = symbol(atom);
      }
      for (unsigned i = 0; i < power; ++i)
        product = product * value;
    }
    sum = sum + product;
  }
  return sum;
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

DimExpr DimExpr::operator+(const DimExpr &rhs) const {
  if (!known || !rhs.known)
    return {};
  DimExpr result = *this;
  result.takeOpaques(rhs);
  for (const auto &[monomial, coefficient] : rhs.polynomial) {
    result.addTerm(monomial, coefficient);
    if (!result.known)
      return {};
  }
  result.checkLimits();
  return result;
}

DimExpr DimExpr::operator-(const DimExpr &rhs) const {
  return *this + rhs * DimExpr(-1);
}

DimExpr DimExpr::operator*(const DimExpr &rhs) const {
  if (!known || !rhs.known)
    return {};
  DimExpr result(0);
  result.takeOpaques(*this);
  result.takeOpaques(rhs);
  for (const auto &[left, leftCoefficient] : polynomial)
    for (const auto &[right, rightCoefficient] : rhs.polynomial) {
      int64_t coefficient;
      if (__builtin_mul_overflow(leftCoefficient, rightCoefficient,
                                 &coefficient))
        return {};
      Monomial monomial = left;
      for (const auto &[atom, power] : right)
        monomial[atom] += power;
      result.addTerm(monomial, coefficient);
      if (!result.known)
        return {};
    }
  result.checkLimits();
  return result;
}

/// Graded order, then by atoms: an order of monomials that products respect.
static bool isBefore(const DimExpr::Monomial &a, const DimExpr::Monomial &b) {
  unsigned degreeA = getDegree(a), degreeB = getDegree(b);
  if (degreeA != degreeB)
    return degreeA < degreeB;
  auto itA = a.begin(), itB = b.begin();
  for (; itA != a.end() && itB != b.end(); ++itA, ++itB) {
    if (itA->first != itB->first) // the earlier atom counts more
      return itA->first > itB->first;
    if (itA->second != itB->second)
      return itA->second < itB->second;
  }
  return false;
}

static auto getLeading(const std::map<DimExpr::Monomial, int64_t> &terms) {
  auto best = terms.begin();
  for (auto it = terms.begin(); it != terms.end(); ++it)
    if (isBefore(best->first, it->first))
      best = it;
  return best;
}

std::optional<DimExpr> DimExpr::divideExactly(const DimExpr &divisor) const {
  DimExpr rest = *this, quotient(0);
  auto lead = getLeading(divisor.polynomial);
  for (size_t step = 0; step < 2 * kMaxTerms && !rest.polynomial.empty();
       ++step) {
    auto top = getLeading(rest.polynomial);
    if (lead->second == -1 ? top->second == INT64_MIN
                           : top->second % lead->second != 0)
      return std::nullopt;
    DimExpr factor(0);
    factor.opaques = rest.opaques;
    Monomial monomial = top->first;
    for (const auto &[atom, power] : lead->first) {
      auto it = monomial.find(atom);
      if (it == monomial.end() || it->second < power)
        return std::nullopt;
      if ((it->second -= power) == 0)
        monomial.erase(it);
    }
    factor.addTerm(monomial, top->second / lead->second);
    factor.checkLimits();
    quotient = quotient + factor;
    rest = rest - factor * divisor;
    if (!rest.known || !quotient.known)
      return std::nullopt;
  }
  if (!rest.polynomial.empty())
    return std::nullopt;
  return quotient;
}

/// floor(p / c) for c > 1, with all that is a multiple of c taken out, so that
/// equal values have one form.
DimExpr DimExpr::floorDivByConstant(int64_t divisor) const {
  DimExpr whole(0), rest(0);
  whole.opaques = rest.opaques = opaques;
  int64_t common = divisor;
  for (const auto &[monomial, coefficient] : polynomial) {
    int64_t quotient = llvm::divideFloorSigned(coefficient, divisor);
    int64_t remainder = coefficient - quotient * divisor;
    if (quotient != 0)
      whole.addTerm(monomial, quotient);
    if (remainder != 0)
      rest.addTerm(monomial, remainder);
    if (!monomial.empty())
      common = std::gcd(common, remainder);
  }
  whole.checkLimits();
  rest.checkLimits();
  if (common > 1) {
    for (auto it = rest.polynomial.begin(); it != rest.polynomial.end();) {
      it->second /= common; // of the constant: floor, which is exact here
      it = it->second == 0 ? rest.polynomial.erase(it) : std::next(it);
    }
    divisor /= common;
  }
  if (divisor == 1)
    return whole + rest;
  if (std::optional<int64_t> constant = rest.getConstant())
    return whole + DimExpr(llvm::divideFloorSigned(*constant, divisor));
  if (rest.polynomial.size() == 1 && rest.polynomial.begin()->second == 1) {
    const Monomial &monomial = rest.polynomial.begin()->first;
    const Opaque *inner = monomial.size() == 1 && monomial.begin()->second == 1
                              ? rest.getOpaque(monomial.begin()->first)
                              : nullptr;
    if (inner && inner->kind == Opaque::FloorDiv) {
      std::optional<int64_t> innerDivisor = inner->operands[1].getConstant();
      int64_t product;
      if (innerDivisor && *innerDivisor > 0 &&
          !__builtin_mul_overflow(*innerDivisor, divisor, &product))
        return whole + inner->operands[0].floorDivByConstant(product);
    }
  }
  return whole + makeOpaque(Opaque::FloorDiv, {rest, DimExpr(divisor)});
}

DimExpr DimExpr::floorDiv(const DimExpr &rhs) const {
  if (!known || !rhs.known || rhs.isConstant(0))
    return {};
  if (std::optional<int64_t> divisor = rhs.getConstant()) {
    if (*divisor == INT64_MIN)
      return {};
    if (*divisor < 0)
      return (DimExpr(0) - *this).floorDiv(DimExpr(-*divisor));
    return *divisor == 1 ? *this : floorDivByConstant(*divisor);
  }
  if (std::optional<DimExpr> quotient = divideExactly(rhs))
    return *quotient;
  return makeOpaque(Opaque::FloorDiv, {*this, rhs});
}

DimExpr DimExpr::ceilDiv(const DimExpr &rhs) const {
  std::optional<int64_t> divisor = rhs.getConstant();
  if (divisor && *divisor > 0)
    return (*this + DimExpr(*divisor - 1)).floorDiv(rhs);
  return DimExpr(0) - (DimExpr(0) - *this).floorDiv(rhs);
}

DimExpr DimExpr::extremum(const DimExpr &a, const DimExpr &b,
                          Opaque::Kind kind) {
  DimExpr difference = a - b;
  bool isMax = kind == Opaque::Max;
  if (difference.isNonNegative())
    return isMax ? a : b;
  if ((b - a).isNonNegative())
    return isMax ? b : a;
  return a.str() <= b.str() ? makeOpaque(kind, {a, b})
                            : makeOpaque(kind, {b, a});
}

DimExpr DimExpr::max(const DimExpr &a, const DimExpr &b) {
  return extremum(a, b, Opaque::Max);
}

DimExpr DimExpr::min(const DimExpr &a, const DimExpr &b) {
  return extremum(a, b, Opaque::Min);
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

static std::string spellSymbol(StringRef name) {
  if (isIdentifier(name) && !isReserved(name))
    return name.str();
  return ("`" + name + "`").str();
}

std::string DimExpr::str() const {
  if (!known)
    return "?";
  if (std::optional<int64_t> constant = getConstant())
    return std::to_string(*constant);
  if (std::optional<std::string> name = getSymbol())
    if ((isIdentifier(*name) && !isReserved(*name)) ||
        parse(*name).getSymbol() == name)
      return *name;
  std::string text;
  auto append = [&](const Monomial &monomial, int64_t coefficient) {
    uint64_t magnitude = coefficient < 0 ? -static_cast<uint64_t>(coefficient)
                                         : static_cast<uint64_t>(coefficient);
    if (!text.empty())
      text += coefficient < 0 ? " - " : " + ";
    else if (coefficient < 0)
      text += "-";
    bool needsStar = false;
    if (magnitude != 1 || monomial.empty()) {
      text += std::to_string(magnitude);
      needsStar = true;
    }
    bool alone = magnitude == 1 && polynomial.size() == 1 && coefficient > 0 &&
                 getDegree(monomial) == 1;
    for (const auto &[atom, power] : monomial)
      for (unsigned i = 0; i < power; ++i) {
        if (needsStar)
          text += " * ";
        needsStar = true;
        const Opaque *opaque = getOpaque(atom);
        if (!opaque)
          text += spellSymbol(atom);
        else if (opaque->kind == Opaque::FloorDiv && !alone)
          text += "(" + getText(*opaque) + ")";
        else
          text += getText(*opaque);
      }
  };
  // Positive terms first, the constant last: "seq + 1", "seq - past".
  for (const auto &[monomial, coefficient] : polynomial)
    if (!monomial.empty() && coefficient > 0)
      append(monomial, coefficient);
  for (const auto &[monomial, coefficient] : polynomial)
    if (!monomial.empty() && coefficient < 0)
      append(monomial, coefficient);
  auto constant = polynomial.find({});
  if (constant != polynomial.end())
    append({}, constant->second);
  return text;
}

namespace {
/// Recursive descent, precedence: product and division above sum. Any failure
/// makes the whole text one symbol, so there are no messages.
class Parser {
public:
  explicit Parser(StringRef text) : rest(text) {}

  std::optional<DimExpr> parseAll() {
    std::optional<DimExpr> result = parseSum(0);
    skipSpace();
    if (!result || !rest.empty() || !result->isKnown())
      return std::nullopt;
    return result;
  }

private:
  StringRef rest;
  bool lastWasName = false;

  void skipSpace() { rest = rest.ltrim(' '); }
  bool consume(StringRef token) {
    skipSpace();
    return rest.consume_front(token);
  }
  /// A word not glued to the following one.
  bool consumeWord(StringRef word) {
    skipSpace();
    StringRef after = rest;
    if (!after.consume_front(word) ||
        (!after.empty() && (llvm::isAlnum(after[0]) || after[0] == '_')))
      return false;
    rest = after;
    return true;
  }
  /// "batch-size" is a name, "batch - size" and "batch-1" are differences.
  bool isHyphen() const {
    return lastWasName && rest.size() > 1 && rest[0] == '-' &&
           (llvm::isAlpha(rest[1]) || rest[1] == '_');
  }

  std::optional<DimExpr> parseSum(unsigned depth) {
    std::optional<DimExpr> sum = parseProduct(depth);
    while (sum) {
      if (isHyphen())
        return std::nullopt;
      bool plus = consume("+");
      if (!plus && !consume("-"))
        break;
      std::optional<DimExpr> next = parseProduct(depth);
      if (!next)
        return std::nullopt;
      sum = plus ? *sum + *next : *sum - *next;
      if (!sum->isKnown())
        return std::nullopt;
    }
    return sum;
  }

  std::optional<DimExpr> parseProduct(unsigned depth) {
    std::optional<DimExpr> product = parseUnary(depth);
    while (product) {
      bool divide = consumeWord("floordiv") || consume("//");
      if (!divide && !consume("*"))
        break;
      std::optional<DimExpr> next = parseUnary(depth);
      if (!next)
        return std::nullopt;
      product = divide ? product->floorDiv(*next) : *product * *next;
      if (!product->isKnown())
        return std::nullopt;
    }
    return product;
  }

  std::optional<DimExpr> parseUnary(unsigned depth) {
    bool negative = false;
    while (consume("-"))
      negative = !negative;
    std::optional<DimExpr> atom = parseAtom(depth);
    if (!atom || !negative)
      return atom;
    return DimExpr(0) - *atom;
  }

  std::optional<DimExpr> parsePair(unsigned depth, bool isMax) {
    std::optional<DimExpr> a, b;
    if (!consume("(") || !(a = parseSum(depth + 1)) || !consume(",") ||
        !(b = parseSum(depth + 1)) || !consume(")"))
      return std::nullopt;
    return isMax ? DimExpr::max(*a, *b) : DimExpr::min(*a, *b);
  }

  std::optional<DimExpr> parseAtom(unsigned depth) {
    if (depth > 64)
      return std::nullopt;
    lastWasName = false;
    if (consume("(")) {
      std::optional<DimExpr> inner = parseSum(depth + 1);
      if (!inner || !consume(")"))
        return std::nullopt;
      lastWasName = false;
      return inner;
    }
    if (consume("`")) {
      auto [name, tail] = rest.split('`');
      if (name.size() == rest.size())
        return std::nullopt;
      rest = tail;
      return DimExpr::symbol(name);
    }
    if (rest.empty())
      return std::nullopt;
    if (llvm::isDigit(rest[0])) {
      StringRef digits = rest.take_while(llvm::isDigit);
      rest = rest.drop_front(digits.size());
      int64_t value;
      if (digits.getAsInteger(10, value) ||
          (!rest.empty() && (llvm::isAlpha(rest[0]) || rest[0] == '_')))
        return std::nullopt;
      return DimExpr(value);
    }
    StringRef name = rest.take_while(
        [](char c) { return llvm::isAlnum(c) || c == '_' || c == '.'; });
    if (!isIdentifier(name) || name == "floordiv")
      return std::nullopt;
    rest = rest.drop_front(name.size());
    if (isReserved(name))
      return parsePair(depth, name.lower() == "max");
    lastWasName = true;
    return DimExpr::symbol(name);
  }
};
} // namespace

DimExpr DimExpr::parse(StringRef text) {
  // A name of a file may be long; an expression that anyone writes is not.
  if (text.size() <= 4096)
    if (std::optional<DimExpr> result = Parser(text).parseAll())
      return *result;
  DimExpr whole = symbol(text);
  return whole.isKnown() ? whole : symbol("_" + text.str());
}
