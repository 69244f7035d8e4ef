//===- Native.cpp - What the verbs on compiled models share ---------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Native.h"
#include "ffn-mlir/Driver/Npz.h"
#include "ffn-mlir/Support/CodedError.h"
#include "ffn-mlir/Support/DimExpr.h"
#include "ffn-mlir/Support/TemporaryFolder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/BinaryFormat/Magic.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"
#include <set>

using namespace mlir::ffn;
using namespace mlir::ffn::driver;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

bool mlir::ffn::driver::isArtefact(StringRef path) {
  // Looking into a pipe would wait for a writer, into a device without end.
  llvm::file_magic magic;
  return llvm::sys::fs::is_regular_file(path) &&
         !llvm::identify_magic(path, magic) &&
         (magic == llvm::file_magic::elf_shared_object ||
          StringRef(path).ends_with(".so"));
}

std::unique_ptr<Artefact> mlir::ffn::driver::openNative(StringRef path,
                                                        unsigned threads,
                                                        StringRef pipeline) {
  auto load = [&](StringRef file) -> std::unique_ptr<Artefact> {
    Expected<std::unique_ptr<Artefact>> artefact =
        Artefact::load(file, threads);
    if (artefact)
      return std::move(*artefact);
    fail(artefact.takeError());
    return nullptr;
  };
  if (!llvm::sys::fs::exists(path)) {
    fail(path + ": no such file [FFN-R101]");
    return nullptr;
  }
  if (isArtefact(path))
    return load(path);
  TemporaryFolder folder;
  if (std::error_code code = folder.create("ffnc")) {
    fail("no temporary folder: " + code.message() + " [FFN-O101]");
    return nullptr;
  }
  std::string library = folder.file("model.so");
  progress("compiling " + path);
  std::string self = llvm::sys::fs::getMainExecutable(nullptr, nullptr);
  std::string message;
  bool bad = false;
  std::string passes = ("--pass-pipeline=" + pipeline).str();
  llvm::SmallVector<StringRef> arguments{self,        "compile", path,
                                         "--emit=so", "-o",      library};
  if (!pipeline.empty())
    arguments.push_back(passes);
  FilePolicy files = getImportOptions().files;
  std::string root = "--external-data-root=" + files.externalDataRoot;
  if (files.allowSymlinks)
    arguments.push_back("--allow-symlinks");
  if (files.noSymlinks)
    arguments.push_back("--no-symlinks");
  if (files.allowHardlinks)
    arguments.push_back("--allow-hardlinks");
  if (!files.externalDataRoot.empty())
    arguments.push_back(root);
  llvm::sys::ProcessInfo process = llvm::sys::ExecuteNoWait(
      self, arguments, std::nullopt, {}, 0, &message, &bad);
  int code = -1;
  if (!bad) {
    childProcess = process.Pid;
    code = llvm::sys::Wait(process, std::nullopt, &message).ReturnCode;
    childProcess = 0;
  }
  if (code != 0) {
    // The compiler has said what is wrong, unless it did not end by itself.
    if (code < 0)
      fail("the compiler stopped: " + message + " [FFN-I901]");
    return nullptr;
  }
  return load(library);
}

//===----------------------------------------------------------------------===//
// Inputs
//===----------------------------------------------------------------------===//

Expected<std::vector<DimSizes>>
mlir::ffn::driver::parseDimGrid(llvm::ArrayRef<std::string> pairs) {
  std::vector<DimSizes> grid(1);
  for (StringRef pair : pairs) {
    // A symbol may hold '=', a size may not.
    auto [name, list] = pair.rsplit('=');
    llvm::SmallVector<StringRef> parts;
    list.split(parts, ',');
    std::vector<DimSizes> next;
    for (const DimSizes &sizes : grid)
      for (StringRef part : parts) {
        int64_t size;
        if (name.empty() || part.getAsInteger(10, size) || size < 0)
          return driverError("--dim needs NAME=SIZE, not '" + pair + "'");
        next.push_back(sizes);
        next.back()[name.str()] = size;
      }
    grid = std::move(next);
    if (grid.size() > 10000)
      return driverError("more than 10000 combinations of sizes");
  }
  return grid;
}

Expected<DimSizes>
mlir::ffn::driver::parseDims(llvm::ArrayRef<std::string> pairs) {
  Expected<std::vector<DimSizes>> grid = parseDimGrid(pairs);
  if (!grid)
    return grid.takeError();
  if (grid->size() != 1)
    return driverError("--dim takes one size for each name here");
  return std::move(grid->front());
}

/// Names that the dimensions of an input depend on.
static std::set<std::string> getSymbols(const Artefact::Value &value) {
  std::set<std::string> names;
  for (auto [dim, text] : llvm::zip_equal(value.shape, value.dimNames))
    if (dim < 0)
      DimExpr::parse(text).forEachSymbol(
          [&](StringRef symbol) { names.insert(symbol.str()); });
  return names;
}

Error mlir::ffn::driver::checkDimNames(llvm::ArrayRef<const Artefact *> models,
                                       const DimSizes &sizes) {
  std::set<std::string> known;
  for (const Artefact *model : models)
    for (const Artefact::Value &value : model->getInputs())
      known.merge(getSymbols(value));
  for (auto &[name, size] : sizes)
    if (!known.count(name))
      return driverError(
          "--dim " + name + ": the inputs have no such dimension; " +
          (known.empty() ? std::string("all their sizes are fixed")
                         : "they have " + llvm::join(known, ", ")) +
          " [FFN-R400]");
  return Error::success();
}

void mlir::ffn::driver::addDefaultSizes(const Artefact &artefact,
                                        llvm::ArrayRef<bool> given,
                                        int64_t size, DimSizes &sizes) {
  for (auto [i, value] : llvm::enumerate(artefact.getInputs()))
    if (!given[i])
      for (const std::string &name : getSymbols(value))
        if (sizes.try_emplace(name, size).second)
          llvm::errs() << "note: no --dim " << escapeName(name) << ": taking "
                       << size << '\n';
}

Error mlir::ffn::driver::fillInputs(const Artefact &artefact,
                                    const DimSizes &sizes, uint64_t seed,
                                    int64_t intBound,
                                    llvm::ArrayRef<bool> given,
                                    llvm::MutableArrayRef<HostTensor> inputs) {
  for (auto [i, value] : llvm::enumerate(artefact.getInputs())) {
    if (given[i])
      continue;
    auto shape = value.resolve(sizes);
    if (!shape)
      return shape.takeError();
    if (Error error = inputs[i].reset(value.dtype, *shape))
      return error;
    inputs[i].fillRandom(seed + i * 0x100000001b3u, intBound);
    if (StringRef(value.name).ends_with("mask"))
      for (size_t k = 0; k < inputs[i].getNumElements(); ++k)
        inputs[i].setInt(k, 1);
  }
  return Error::success();
}

Error mlir::ffn::driver::readInputs(const Artefact &artefact,
                                    llvm::ArrayRef<std::string> items,
                                    llvm::MutableArrayRef<bool> given,
                                    llvm::MutableArrayRef<HostTensor> inputs) {
  auto set = [&](StringRef name, const NpyArray &array,
                 StringRef where) -> Error {
    int64_t i = artefact.findInput(name);
    if (i < 0)
      return driverError(where + ": the model has no input '" + name +
                         "' [FFN-R400]");
    if (given[i])
      return driverError(where + ": input '" + name +
                         "' is given twice [FFN-R400]");
    given[i] = true;
    return inputs[i].assign(array, artefact.getInputs()[i].dtype, where);
  };
  for (StringRef item : items) {
    if (item.ends_with(".npz") && !item.contains('=')) {
      auto arrays = readNpz(item);
      if (!arrays)
        return arrays.takeError();
      for (auto &[name, array] : *arrays) {
        StringRef input = name;
        // Archives of references hold outputs too.
        if (!input.consume_front("in:") && artefact.findInput(input) < 0)
          continue;
        if (Error error = set(input, array, item))
          return error;
      }
      continue;
    }
    // The file is what follows the first '=' unless an input has one in its
    // name.
    auto [name, file] = item.split('=');
    for (const Artefact::Value &value : artefact.getInputs())
      if (value.name.size() > name.size() && item.starts_with(value.name) &&
          item.substr(value.name.size()).starts_with("=")) {
        name = value.name;
        file = item.drop_front(name.size() + 1);
      }
    if (name.empty() || file.empty())
      return driverError("--input needs NAME=FILE.npy or FILE.npz, not '" +
                         item + "' [FFN-R400]");
    if (artefact.findInput(name) < 0)
      return driverError("the model has no input '" + name + "' [FFN-R400]");
    CodedErrors errors;
    llvm::FailureOr<NpyArray> array = readNpy(file, errors);
    if (failed(array))
      return driverError(file + ": " + errors.get().front().getMessage());
    if (Error error = set(name, *array, file))
      return error;
  }
  return Error::success();
}
