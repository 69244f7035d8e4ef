//===- CandidateLog.cpp - What a pass did with each candidate -------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Support/CandidateLog.h"
#include "ffn-mlir/Support/Assert.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;
using namespace mlir::ffn;

static constexpr llvm::StringLiteral kTag = "ffn.candidate";

llvm::json::Object CandidateEntry::toJSON() const {
  return llvm::json::Object{{"pass", pass},
                            {"candidate", llvm::json::fixUTF8(candidate)},
                            {"index", index},
                            {"rewritten", rewritten},
                            {"class", approximate ? "approximate" : "exact"}};
}

SmallVector<CandidateEntry, 0>
mlir::ffn::readCandidates(Diagnostic &diagnostic) {
  SmallVector<CandidateEntry, 0> found;
  for (DiagnosticArgument &argument : diagnostic.getMetadata()) {
    if (argument.getKind() !=
        DiagnosticArgument::DiagnosticArgumentKind::Attribute)
      continue;
    auto entry = llvm::dyn_cast<DictionaryAttr>(argument.getAsAttribute());
    auto pass = entry ? entry.getAs<StringAttr>(kTag) : StringAttr();
    if (!pass)
      continue;
    CandidateEntry &result = found.emplace_back();
    result.pass = pass.str();
    if (auto name = entry.getAs<StringAttr>("name"))
      result.candidate = name.str();
    if (auto index = entry.getAs<IntegerAttr>("index"))
      result.index = index.getInt();
    result.rewritten = entry.contains("rewritten");
    result.approximate = entry.contains("approximate");
  }
  return found;
}

void CandidateLog::add(const void *subject, Operation *at, const Twine &name) {
  std::string text = name.str();
  if (text.empty()) {
    auto place = at->getLoc()->findInstanceOf<NameLoc>();
    text = place ? place.getName().str() : at->getName().getStringRef().str();
  }
  candidates.insert({subject, {std::move(text)}});
}

bool CandidateLog::isOpen(const void *subject) const {
  auto found = candidates.find(subject);
  return found != candidates.end() && found->second.open;
}

InFlightDiagnostic CandidateLog::answer(ArrayRef<const void *> subjects,
                                        Operation *at, bool isRewritten) {
  InFlightDiagnostic remark = at->emitRemark();
  Builder builder(at->getContext());
  for (const void *subject : subjects) {
    auto found = candidates.find(subject);
    FFN_ASSERT(found != candidates.end() && found->second.open,
               "one answer for a candidate");
    if (found == candidates.end())
      continue;
    found->second.open = false;
    NamedAttrList entry;
    entry.append(kTag, builder.getStringAttr(pass));
    entry.append("name", builder.getStringAttr(found->second.name));
    entry.append("index",
                 builder.getI64IntegerAttr(found - candidates.begin()));
    if (isRewritten)
      entry.append("rewritten", builder.getUnitAttr());
    if (approximate)
      entry.append("approximate", builder.getUnitAttr());
    if (Diagnostic *diagnostic = remark.getUnderlyingDiagnostic())
      diagnostic->getMetadata().push_back(
          DiagnosticArgument(Attribute(entry.getDictionary(at->getContext()))));
  }
  return remark;
}

void CandidateLog::finish() const {
  for (auto &[subject, candidate] : candidates)
    FFN_ASSERT(!candidate.open, "an answer for every candidate");
}
