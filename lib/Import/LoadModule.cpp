//===- LoadModule.cpp - Models by content ---------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Dialect/FFN/IR/FFN.h"
#include "ffn-mlir/Import/Importer.h"
#include "ffn-mlir/Ops/OpTable.h"
#include "ffn-mlir/Support/DiagnosticPrinter.h"
#include "ffn-mlir/Support/SafeFile.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "mlir/Parser/Parser.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;
using namespace mlir::ffn;
namespace path = llvm::sys::path;

ModelFormat mlir::ffn::detectModelFormat(ArrayRef<uint8_t> head) {
  static constexpr uint8_t magic[] = {'M', 'L', 0xEF, 'R'};
  if (head.take_front(4) == ArrayRef<uint8_t>(magic))
    return ModelFormat::Bytecode;
  // Every message of ONNX that has content starts with a tag below 0x80 and
  // soon holds a control character (a small number, a short length).
  bool isText = !head.empty() && llvm::all_of(head, [](uint8_t c) {
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c != 0x7F);
  });
  return isText ? ModelFormat::Text : ModelFormat::ONNX;
}

LogicalResult mlir::ffn::verifyParsedModule(ModuleOp module,
                                            const ImportOptions &options) {
  bool hasNodes =
      module.walk([](onnx::NodeOp) { return WalkResult::interrupt(); })
          .wasInterrupted();
  if (!hasNodes)
    return success();
  VerifyOptions verify;
  verify.strict = options.strict;
  verify.inferShapes = options.inferShapes;
  // Inference writes into the IR what it finds, and a text stays as it is.
  OwningOpRef<ModuleOp> copy = module.clone();
  // The import has warned of the habits of the exporter.
  ScopedDiagnosticHandler quiet(module.getContext(), [](Diagnostic &d) {
    return success(d.getSeverity() == DiagnosticSeverity::Warning);
  });
  return verifyONNXModel(*copy, verify);
}

OwningOpRef<ModuleOp> mlir::ffn::loadModule(StringRef file, MLIRContext *ctx,
                                            const ImportOptions &options,
                                            StringRef weightsDir) {
  Location loc = NameLoc::get(StringAttr::get(
      ctx, path::filename(file).empty() ? "model" : path::filename(file)));
  CodedErrors errors;
  std::shared_ptr<SafeFile> safe =
      SafeFile::open(file, FilePolicy(options.files), errors);
  if (!safe) {
    (void)emitCodedErrors(loc, errors);
    return {};
  }
  uint64_t headSize = std::min<uint64_t>(safe->getSize(), 1024);
  std::vector<uint8_t> head(headSize);
  if (failed(safe->read(0, head, errors))) {
    (void)emitCodedErrors(loc, errors);
    return {};
  }
  ModelFormat format = detectModelFormat(head);
  if (head.empty() && path::extension(file) == ".mlir")
    format = ModelFormat::Text;
  if (format == ModelFormat::Text && path::extension(file) == ".onnx") {
    // The usual failed download.
    StringRef text(reinterpret_cast<const char *>(head.data()), head.size());
    InFlightDiagnostic error = emitError(loc)
                               << "is text, not a valid ONNX protobuf";
    if (text.starts_with("version https://git-lfs"))
      error << ": a pointer of Git LFS, whose file was not fetched";
    return error << " [FFN-I001]", nullptr;
  }
  if (format == ModelFormat::ONNX) {
    safe.reset();
    return importONNX(file, ctx, options);
  }

  auto bytes =
      llvm::WritableMemoryBuffer::getNewUninitMemBuffer(safe->getSize(), file);
  if (!bytes) {
    emitError(loc) << "is too large to be read [FFN-I002]";
    return {};
  }
  MutableArrayRef<uint8_t> buffer(
      reinterpret_cast<uint8_t *>(bytes->getBufferStart()),
      bytes->getBufferSize());
  if (failed(safe->read(0, buffer, errors))) {
    (void)emitCodedErrors(loc, errors);
    return {};
  }
  ctx->loadDialect<FFNDialect>();
  auto sources = std::make_shared<llvm::SourceMgr>();
  sources->AddNewSourceBuffer(std::move(bytes), llvm::SMLoc());
  OwningOpRef<ModuleOp> module;
  bool hasCode = false;
  {
    ScopedDiagnosticHandler handler(ctx, [&](Diagnostic &diagnostic) {
      hasCode |= !findCode(diagnostic.str()).empty();
      return failure(); // for the one below
    });
    module = parseSourceFile<ModuleOp>(sources, ParserConfig(ctx));
  }
  if (!module) {
    // Errors of MLIR's parser have none.
    if (!hasCode)
      emitError(loc) << "is no ONNX model, and no MLIR that can be read "
                        "[FFN-I108]";
    return {};
  }
  if (failed(verifyParsedModule(*module, options)))
    return {};
  WeightStore &store = WeightStore::get(ctx);
  store.setBaseDirectory(weightsDir.empty() ? path::parent_path(file)
                                            : weightsDir);
  auto derived = module->lookupSymbol<FileOp>(kDerivedFile);
  if (derived && derived.getSize())
    store.adoptDerived(derived.getPath(), *derived.getSize());
  return module;
}

//===----------------------------------------------------------------------===//
// Paths
//===----------------------------------------------------------------------===//

/// Absolute, without links, dots and double separators; the folder need not
/// exist.
static SmallString<256> getRealFolder(StringRef folder) {
  SmallString<256> result;
  if (!llvm::sys::fs::real_path(folder.empty() ? "." : folder, result))
    return result;
  result = folder;
  if (std::error_code error = llvm::sys::fs::make_absolute(result))
    result = folder;
  path::remove_dots(result, /*remove_dot_dot=*/true);
  return result;
}

std::string mlir::ffn::getRelativePath(StringRef from, StringRef to) {
  SmallString<256> base = getRealFolder(from), target = getRealFolder(to);
  auto i = path::begin(base), j = path::begin(target);
  for (; i != path::end(base) && j != path::end(target) && *i == *j;) {
    ++i;
    ++j;
  }
  SmallString<256> result;
  for (; i != path::end(base); ++i)
    path::append(result, "..");
  for (; j != path::end(target); ++j)
    path::append(result, *j);
  return result.str().str();
}

void mlir::ffn::rebaseFilePaths(ModuleOp module, StringRef from, StringRef to) {
  std::string prefix = getRelativePath(to, from);
  if (prefix.empty())
    return;
  for (FileOp file : module.getOps<FileOp>()) {
    // The file of derived weights that nobody has written is nowhere yet.
    bool isNowhere = file.getName() == kDerivedFile && !file.getSize();
    if (path::is_absolute(file.getPath()) || isNowhere)
      continue;
    SmallString<256> result(prefix);
    path::append(result, file.getPath());
    path::remove_dots(result, /*remove_dot_dot=*/false);
    file.setPath(result);
  }
}
