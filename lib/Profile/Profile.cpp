//===- Profile.cpp - What a model does on calibration data ----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Profile.h"
#include "ffn-mlir/Driver/HostTensor.h"
#include "ffn-mlir/Support/Json.h"
#include "ffn-mlir/Support/Sha256.h"
#include "ffn-mlir/Support/WeightStore.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
namespace json = llvm::json;

/// Adds the bytes of a file; `size` is what the module says that it has.
static LogicalResult addFile(Sha256 &hash, FileOp file, uint64_t size) {
  MLIRContext *ctx = file.getContext();
  auto type = RankedTensorType::get({static_cast<int64_t>(size)},
                                    IntegerType::get(ctx, 8));
  auto whole = SpanAttr::get(ctx, FlatSymbolRefAttr::get(file.getSymNameAttr()),
                             0, size, file.getSymNameAttr(), type);
  std::vector<char> block;
  for (uint64_t at = 0; at < size; at += block.size()) {
    block.resize(std::min<uint64_t>(1 << 20, size - at));
    if (failed(WeightStore::get(ctx).read(file, whole, at, block)))
      return failure();
    hash.update(StringRef(block.data(), block.size()));
  }
  return success();
}

FailureOr<std::string> mlir::ffn::hashModel(ModuleOp module) {
  Sha256 hash;
  for (FileOp file : module.getOps<FileOp>())
    if (file.getSymName() != kDerivedFile)
      if (failed(addFile(hash, file, file.getSize().value_or(0))))
        return failure();
  return hash.finishHex();
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

json::Array mlir::ffn::layersToJSON(ArrayRef<ProbedLayer> layers) {
  json::Array array;
  for (const ProbedLayer &layer : layers) {
    json::Array names, linears, networks;
    for (const std::string &name : layer.names)
      names.push_back(json::fixUTF8(name));
    for (const ProbedLayer::Linear &linear : layer.linears)
      linears.push_back(json::Object{{"site", linear.site},
                                     {"weight", json::fixUTF8(linear.weight)},
                                     {"in", linear.width},
                                     {"out", linear.out}});
    for (const ProbedLayer::Network &network : layer.networks)
      networks.push_back(json::Object{{"input", network.input},
                                      {"hidden", network.hidden},
                                      {"output", network.output},
                                      {"normalised", network.normalised},
                                      {"d", network.width},
                                      {"m", network.hiddenWidth},
                                      {"out", network.outputWidth},
                                      {"activation", network.activation},
                                      {"gated", network.gated}});
    array.push_back(json::Object{{"names", std::move(names)},
                                 {"kind", layer.kind},
                                 {"linears", std::move(linears)},
                                 {"networks", std::move(networks)}});
  }
  return array;
}

Expected<std::vector<ProbedLayer>>
mlir::ffn::layersFromJSON(const json::Array &array) {
  std::vector<ProbedLayer> layers;
  bool ok = true;
  auto text = [&](const json::Object &from, StringRef key) {
    std::optional<StringRef> value = from.getString(key);
    ok &= value.has_value();
    return value.value_or("").str();
  };
  auto number = [&](const json::Object &from, StringRef key) {
    std::optional<int64_t> value = from.getInteger(key);
    ok &= value && *value >= 0;
    return value.value_or(0);
  };
  static const json::Array none;
  auto objects = [&](const json::Object &from, StringRef key, auto take) {
    const json::Array *list = from.getArray(key);
    ok &= list != nullptr;
    for (const json::Value &value : list ? *list : none) {
      const json::Object *object = value.getAsObject();
      ok &= object != nullptr;
      if (object)
        take(*object);
    }
  };
  for (const json::Value &value : array) {
    const json::Object *object = value.getAsObject();
    const json::Array *names = object ? object->getArray("names") : nullptr;
    if (!names || names->empty())
      return driverError("a layer has no name");
    ProbedLayer layer;
    for (const json::Value &name : *names) {
      std::optional<StringRef> known = name.getAsString();
      ok &= known.has_value();
      layer.names.push_back(known.value_or("").str());
    }
    layer.kind = text(*object, "kind");
    objects(*object, "linears", [&](const json::Object &from) {
      layer.linears.push_back({static_cast<unsigned>(layer.linears.size()),
                               text(from, "site"), text(from, "weight"),
                               number(from, "in"), number(from, "out")});
    });
    objects(*object, "networks", [&](const json::Object &from) {
      layer.networks.push_back(
          {static_cast<unsigned>(layer.networks.size()), text(from, "input"),
           text(from, "hidden"), text(from, "output"), text(from, "normalised"),
           number(from, "d"), number(from, "m"), number(from, "out"),
           text(from, "activation"), from.getBoolean("gated").value_or(false)});
    });
    layers.push_back(std::move(layer));
  }
  if (!ok)
    return driverError("the description of its layers is damaged");
  return layers;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

Expected<std::unique_ptr<Profile>> Profile::open(StringRef path) {
  auto file = SafetensorsFile::open(path);
  if (!file)
    return file.takeError();
  std::unique_ptr<Profile> profile(new Profile);
  profile->path = path.str();
  profile->file = std::move(*file);
  if (Error error = profile->readHeader())
    return driverError(path + ": " + llvm::toString(std::move(error)) +
                       " [FFN-D104]");
  return std::move(profile);
}

Error Profile::readHeader() {
  auto found = file->getMetadata().find(kProfileKey.str());
  if (found == file->getMetadata().end())
    return driverError("not a profile: the metadata have no '" + kProfileKey +
                       "'");
  constexpr unsigned kMaxNesting = 1000;
  if (nestsDeeper(found->second, kMaxNesting))
    return driverError("its description nests too deep");
  Expected<json::Value> parsed = json::parse(found->second);
  if (!parsed)
    return driverError("its description is no JSON: " +
                       llvm::toString(parsed.takeError()));
  json::Object *object = parsed->getAsObject();
  std::optional<int64_t> format =
      object ? object->getInteger("format") : std::nullopt;
  if (!format)
    return driverError("its description has no format number");
  if (*format != kProfileFormat)
    return driverError("a profile of format " + llvm::Twine(*format) +
                       "; this version reads " + llvm::Twine(kProfileFormat));
  header = std::move(*object);
  auto number = [&](StringRef key) {
    return static_cast<uint64_t>(header.getInteger(key).value_or(0));
  };
  modelHash = header.getString("model_sha256").value_or("").str();
  numTokens = number("tokens");
  numSamples = number("samples");
  seed = number("seed");
  sequential = header.getString("prefix").value_or("") == "rewritten";
  if (const json::Object *data = header.getObject("calibration"))
    if (const json::Array *hashes = data->getArray("hashes"))
      for (const json::Value &value : *hashes)
        sampleHashes.push_back(value.getAsString().value_or("").str());
  const json::Array *array = header.getArray("layers");
  if (!array || modelHash.empty())
    return driverError("its description names no model or no layers");
  auto read = layersFromJSON(*array);
  if (!read)
    return read.takeError();
  layers = std::move(*read);
  return Error::success();
}

LogicalResult Profile::checkModel(ModuleOp module) const {
  FailureOr<std::string> hash = hashModel(module);
  if (failed(hash))
    return failure();
  if (*hash == modelHash)
    return success();
  return module.emitError("profile '")
         << path << "' was made of another model: SHA-256 "
         << StringRef(modelHash).take_front(12) << "... is not "
         << StringRef(*hash).take_front(12)
         << "...; make one with ffnc profile [FFN-D106]";
}

const ProbedLayer *Profile::findLayer(StringRef name) const {
  for (const ProbedLayer &layer : layers)
    if (llvm::is_contained(layer.names, name))
      return &layer;
  return nullptr;
}

static std::string nameTensor(const ProbedLayer &layer, StringRef site,
                              StringRef statistic) {
  std::string stem = site.empty() ? layer.names.front() : layer.getSite(site);
  return stem + "/" + statistic.str();
}

bool Profile::has(const ProbedLayer &layer, StringRef site,
                  StringRef statistic) const {
  return file->find(nameTensor(layer, site, statistic)) != nullptr;
}

Expected<ArrayRef<char>> Profile::getBytes(const ProbedLayer &layer,
                                           StringRef site, StringRef statistic,
                                           StringRef dtype,
                                           ArrayRef<int64_t> shape,
                                           size_t alignment) const {
  std::string name = nameTensor(layer, site, statistic);
  const SafetensorsEntry *entry = file->find(name);
  auto refuse = [&](const llvm::Twine &what) {
    return driverError(path + ": " + what + " [FFN-D105]");
  };
  if (!entry)
    return refuse("the profile has no '" + name +
                  "'; ffnc profile --probes or --for measures it");
  if (entry->dtype != dtype)
    return refuse("'" + name + "' is of type " + entry->dtype + ", " + dtype +
                  " is needed");
  if (!shape.empty() && ArrayRef<int64_t>(entry->shape) != shape)
    return refuse("'" + name + "' has shape " + shapeName(entry->shape) + ", " +
                  shapeName(shape) + " is needed");
  ArrayRef<char> view = file->view(*entry);
  if (!view.empty() &&
      reinterpret_cast<uintptr_t>(view.data()) % alignment == 0)
    return view;
  std::vector<double> &copy = copies[name];
  if (copy.size() * sizeof(double) < entry->size) {
    copy.resize(entry->size / sizeof(double) + 1);
    MutableArrayRef<char> bytes(reinterpret_cast<char *>(copy.data()),
                                entry->size);
    if (Error error = file->read(*entry, 0, bytes))
      return std::move(error);
  }
  return ArrayRef<char>(reinterpret_cast<const char *>(copy.data()),
                        entry->size);
}

//===----------------------------------------------------------------------===//
// Printing
//===----------------------------------------------------------------------===//

void Profile::print(raw_ostream &os) const {
  auto text = [&](StringRef key) {
    return header.getString(key).value_or("").str();
  };
  os << "model sha256  " << modelHash << '\n'
     << "made by       " << text("producer") << ", " << text("level") << '\n'
     << "samples       " << numSamples << " of "
     << header.getInteger("available").value_or(0) << ", " << numTokens
     << " tokens, seed " << seed << ", held out "
     << header.getInteger("hold_out").value_or(0) << '\n'
     << "prefix        " << text("prefix");
  if (sequential)
    os << " by " << text("rewrite");
  os << '\n';
  if (const json::Object *data = header.getObject("calibration"))
    if (const json::Array *sources = data->getArray("sources"))
      for (const json::Value &value : *sources)
        if (const json::Object *source = value.getAsObject())
          os << "data          " << source->getString("name").value_or("")
             << ", " << source->getInteger("bytes").value_or(0)
             << " bytes, sha256 "
             << source->getString("sha256").value_or("").take_front(12)
             << "...\n";
  for (const ProbedLayer &layer : layers) {
    std::map<std::string, std::string> sites;
    for (const SafetensorsEntry &entry : file->getEntries()) {
      StringRef rest = entry.name;
      if (!rest.consume_front(layer.names.front()) || !rest.consume_front("/"))
        continue;
      auto [site, statistic] = rest.rsplit('/');
      if (statistic.empty())
        std::swap(site, statistic);
      sites[site.str()] += " " + statistic.str() + shapeName(entry.shape);
    }
    if (sites.empty())
      continue;
    os << '\n' << llvm::join(layer.names, " + ") << " (" << layer.kind << ")\n";
    for (auto &[site, statistics] : sites)
      os << "  " << llvm::left_justify(site.empty() ? "sublayer" : site, 14)
         << statistics << '\n';
  }
}
