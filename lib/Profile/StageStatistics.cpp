//===- StageStatistics.cpp - What one stage measures ----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "StageStatistics.h"
#include "ffn-mlir/Search/StagedModel.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Threading.h"

using namespace mlir;
using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;

/// Rows that a split statistic is made of.
static constexpr size_t kRowStep = 64;
/// Elements of a sample below which threads cost more than they save.
static constexpr size_t kSmall = 1 << 15;

//===----------------------------------------------------------------------===//
// Planning
//===----------------------------------------------------------------------===//

void StageStatistics::addGram(const std::string &site, TapRef tap,
                              size_t width) {
  Plan plan(site, {tap}, width);
  plan.make = [width](size_t begin, size_t end, const std::string &) {
    return makeGram(width, begin, end);
  };
  plan.rows = width;
  plan.bytesPerRow = width * sizeof(double);
  add(std::move(plan));
}

void StageStatistics::addInputSite(const std::string &site, TapRef tap,
                                   size_t width) {
  if (wants(Probe::Moments)) {
    Plan plan(site, {tap}, width);
    plan.make = [width](size_t, size_t, const std::string &) {
      return makeMoments(width, {});
    };
    plan.bytes = 3 * width * sizeof(double);
    add(std::move(plan));
  }
  if (wants(Probe::Gram))
    addGram(site, tap, width);
  if (wants(Probe::Histogram)) {
    Plan plan(site, {tap}, width);
    plan.make = [](size_t, size_t, const std::string &) {
      return makeHistogram();
    };
    plan.bytes = 1 << 20;
    add(std::move(plan));
  }
}

void StageStatistics::addHiddenSite(const std::string &site, TapRef tap,
                                    size_t width) {
  if (wants(Probe::Moments) || wants(Probe::Hidden)) {
    MomentOptions options{wants(Probe::Hidden), request.magnitude,
                          request.threshold};
    Plan plan(site, {tap}, width);
    plan.make = [width, options](size_t, size_t, const std::string &) {
      return makeMoments(width, options);
    };
    plan.bytes = 10 * width * sizeof(double);
    add(std::move(plan));
  }
  if (wants(Probe::Gram) || wants(Probe::HiddenGram))
    addGram(site, tap, width);
  if (wants(Probe::Histogram)) {
    Plan plan(site, {tap}, width);
    plan.make = [](size_t, size_t, const std::string &) {
      return makeHistogram();
    };
    plan.bytes = 1 << 20;
    add(std::move(plan));
  }
  if (wants(Probe::CoFire)) {
    Plan plan(site, {tap}, width);
    size_t group = request.group;
    plan.make = [width, group](size_t begin, size_t end, const std::string &) {
      return makeCoFiring(width, group, begin, end);
    };
    plan.rows = width;
    plan.bytesPerRow = width * sizeof(double);
    add(std::move(plan));
  }
}

StageStatistics::StageStatistics(const ProbedLayer &layer,
                                 const ProbeRequest &request,
                                 const StageTaps &taps)
    : layer(layer), request(request) {
  auto find = [&](const std::string &site) -> std::optional<TapRef> {
    if (!site.empty())
      for (auto &[name, result] : taps.sites)
        if (name == layer.getSite(site))
          return TapRef{false, result};
    return std::nullopt;
  };
  auto addTopK = [&](StringRef name, const std::string &site, TapRef tap,
                     size_t width) {
    Plan plan(layer.getSite(site), {tap}, width);
    size_t k = request.topK;
    plan.make = [name = name.str(), width, k](size_t, size_t,
                                              const std::string &) {
      return makeTopK(name, width, k);
    };
    plan.bytes = (16 << 20) + width * 16;
    add(std::move(plan));
  };
  llvm::StringSet<> seen;
  for (const ProbedLayer::Linear &linear : layer.linears)
    if (auto tap = find(linear.site); tap && seen.insert(linear.site).second)
      addInputSite(layer.getSite(linear.site), *tap, linear.width);
  for (const ProbedLayer::Network &network : layer.networks) {
    std::optional<TapRef> input = find(network.input),
                          hidden = find(network.hidden),
                          output = find(network.output),
                          marks = find(network.normalised);
    size_t d = network.width, m = network.hiddenWidth,
           out = network.outputWidth;
    if (input && seen.insert(network.input).second)
      addInputSite(layer.getSite(network.input), *input, d);
    if (hidden)
      addHiddenSite(layer.getSite(network.hidden), *hidden, m);
    if (hidden && wants(Probe::TopK))
      addTopK("topk", network.hidden, *hidden, m);
    if (marks)
      addTopK("cmoe_topk", network.hidden, *marks, m);
    auto addCross = [&](StringRef name, const std::string &site, TapRef with,
                        size_t columns) {
      Plan plan(layer.getSite(site), {*input, with}, d);
      plan.make = [name = name.str(), d, columns](size_t begin, size_t end,
                                                  const std::string &) {
        return makeCross(name, d, columns, begin, end);
      };
      plan.rows = d;
      plan.bytesPerRow = columns * sizeof(double);
      add(std::move(plan));
    };
    if (input && output)
      addCross("cross", network.output, *output, out);
    if (input && hidden && wants(Probe::CrossHidden))
      addCross("cross", network.hidden, *hidden, m);
  }
  auto addRaw = [&](StringRef name, const std::string &prefix, TapRef tap) {
    Plan plan(prefix, {tap});
    plan.make = [name = name.str()](size_t, size_t, const std::string &spool) {
      return makeRaw(name, spool);
    };
    plan.bytes = 1 << 20;
    add(std::move(plan));
  };
  if (taps.residual) {
    TapRef residual{true, *taps.residual};
    if (taps.hidden) {
      Plan plan(layer.names.front(), {residual, TapRef{false, *taps.hidden}});
      plan.make = [](size_t, size_t, const std::string &) {
        return makeInfluence();
      };
      plan.bytes = 1 << 12;
      add(std::move(plan));
    }
    if (wants(Probe::Raw))
      addRaw("raw", layer.names.front(), residual);
  }
  for (auto &[name, result] : taps.results)
    addRaw("logits", (kMainLayer + "/" + name).str(), TapRef{false, result});
}

bool StageStatistics::split(uint64_t limit, size_t samples,
                            uint64_t &smallest) {
  passes.clear();
  uint64_t left = 0;
  auto open = [&] {
    passes.emplace_back();
    left = limit;
  };
  for (auto [i, plan] : llvm::enumerate(plans)) {
    unsigned index = i;
    if (plan.rows == 0) {
      uint64_t bytes = plan.bytes + plan.bytesPerSample * samples;
      if (passes.empty() || bytes > left)
        open();
      smallest = bytes;
      if (bytes > left)
        return false;
      left -= bytes;
      passes.back().push_back({index, 0, 0});
      continue;
    }
    // What a block of tokens is packed into does not shrink with the rows.
    uint64_t packed = 64 * plan.bytesPerRow * 4;
    for (size_t begin = 0; begin < plan.rows;) {
      size_t rest = plan.rows - begin, rows = 0;
      if (!passes.empty() && left > packed)
        rows = std::min<uint64_t>(rest, (left - packed) / plan.bytesPerRow);
      if (rows < rest)
        rows = rows / kRowStep * kRowStep;
      if (rows == 0) {
        smallest = packed + std::min(rest, kRowStep) * plan.bytesPerRow;
        if (!passes.empty() && passes.back().empty())
          return false;
        open();
        continue;
      }
      left -= packed + rows * plan.bytesPerRow;
      passes.back().push_back({index, begin, begin + rows});
      begin += rows;
    }
  }
  return true;
}

StatisticPass StageStatistics::begin(unsigned pass,
                                     const std::string &spool) const {
  StatisticPass result;
  if (pass >= passes.size())
    return result;
  for (const Part &part : passes[pass]) {
    const Plan &plan = plans[part.plan];
    auto statistic = plan.make(part.begin, part.end,
                               spool + ".spool" + std::to_string(part.plan));
    statistic->prefix = plan.prefix;
    for (TapRef tap : plan.taps) {
      auto known = llvm::find(result.taps, tap);
      statistic->taps.push_back(known - result.taps.begin());
      if (known == result.taps.end())
        result.taps.push_back(tap);
    }
    result.statistics.push_back(std::move(statistic));
    result.widths.push_back(plan.width);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

Error StatisticPass::add(ArrayRef<HostTensor *> inputs,
                         ArrayRef<HostTensor> results, unsigned threads) {
  std::vector<TokenRows> rows;
  rows.reserve(taps.size());
  size_t elements = 0;
  for (TapRef tap : taps) {
    rows.emplace_back(tap.isInput ? *inputs[tap.index] : results[tap.index]);
    elements += rows.back().getNumRows() * rows.back().getWidth();
  }
  struct Task {
    unsigned statistic, part;
  };
  std::vector<Task> tasks;
  std::vector<SmallVector<const TokenRows *, 2>> operands;
  for (auto [i, statistic] : llvm::enumerate(statistics)) {
    operands.emplace_back();
    for (unsigned tap : statistic->taps)
      operands.back().push_back(&rows[tap]);
    const TokenRows &first = *operands.back().front();
    if (widths[i] && first.getWidth() != widths[i])
      return driverError(statistic->prefix + ": " +
                         llvm::Twine(first.getWidth()) + " channels where " +
                         llvm::Twine(widths[i]) +
                         " were expected; a defect of ffn-mlir, please report "
                         "it [FFN-C199]");
    for (const TokenRows *operand : operands.back())
      if (operand->getNumRows() != first.getNumRows())
        return driverError(statistic->prefix +
                           ": its inputs have not the same tokens [FFN-D208]");
    for (unsigned part = 0; part < statistic->getNumParts(); ++part)
      tasks.push_back({static_cast<unsigned>(i), part});
  }
  if (!rows.empty())
    tokens += rows.front().getNumRows();
  unsigned workers = threads;
  if (workers == 0)
    workers = llvm::hardware_concurrency().compute_thread_count();
  if (elements < kSmall)
    workers = 1;
  if (Error error = forEachOnWorkers(
          workers, tasks.size(), [&](size_t i, unsigned) -> Error {
            unsigned index = tasks[i].statistic;
            return statistics[index]->add(tasks[i].part, operands[index]);
          }))
    return error;
  for (auto &statistic : statistics)
    statistic->endSample();
  return Error::success();
}

Expected<std::vector<SafetensorsSource>> StatisticPass::finish() {
  std::vector<SafetensorsSource> tensors;
  for (auto &statistic : statistics)
    if (Error error = statistic->finish(tensors))
      return std::move(error);
  return tensors;
}

//===----------------------------------------------------------------------===//
// Tensors of several files
//===----------------------------------------------------------------------===//

/// Rows of which "gram.<row>" names the first; none for a whole tensor.
static std::optional<uint64_t> getFirstRow(StringRef name) {
  uint64_t row;
  if (name.rsplit('/').second.rsplit('.').second.getAsInteger(10, row))
    return std::nullopt;
  return row;
}

Expected<std::vector<SafetensorsSource>>
mlir::ffn::mergeTensors(ArrayRef<std::string> paths) {
  struct Piece {
    std::shared_ptr<SafetensorsFile> file;
    const SafetensorsEntry *entry;
    uint64_t row;
  };
  std::vector<std::string> names;
  std::map<std::string, std::vector<Piece>> pieces;
  for (const std::string &path : paths) {
    auto opened = SafetensorsFile::open(path);
    if (!opened)
      return opened.takeError();
    std::shared_ptr<SafetensorsFile> file = std::move(*opened);
    for (const SafetensorsEntry &entry : file->getEntries()) {
      std::optional<uint64_t> row = getFirstRow(entry.name);
      std::string name =
          row ? StringRef(entry.name).rsplit('.').first.str() : entry.name;
      std::vector<Piece> &list = pieces[name];
      if (list.empty())
        names.push_back(name);
      list.push_back({file, &entry, row.value_or(0)});
    }
  }
  std::vector<SafetensorsSource> tensors;
  for (const std::string &name : names) {
    std::vector<Piece> &list = pieces[name];
    llvm::sort(list,
               [](const Piece &a, const Piece &b) { return a.row < b.row; });
    SafetensorsSource source;
    source.name = name;
    source.dtype = list.front().entry->dtype;
    source.shape = list.front().entry->shape;
    for (const Piece &piece : ArrayRef<Piece>(list).drop_front())
      source.shape[0] += piece.entry->shape[0];
    source.write = [list](SafetensorsSource::Sink sink) -> Error {
      std::vector<char> block;
      for (const Piece &piece : list)
        for (uint64_t at = 0; at < piece.entry->size; at += block.size()) {
          block.resize(std::min<uint64_t>(1 << 20, piece.entry->size - at));
          if (Error error = piece.file->read(*piece.entry, at, block))
            return error;
          piece.file->drop(*piece.entry, at, block.size());
          if (Error error = sink(block))
            return error;
        }
      return Error::success();
    };
    tensors.push_back(std::move(source));
  }
  return tensors;
}

void mlir::ffn::orderTensors(std::vector<SafetensorsSource> &tensors) {
  std::vector<SafetensorsSource> ordered;
  for (unsigned size : {8, 4, 2, 1})
    for (SafetensorsSource &tensor : tensors)
      if (getSafetensorsItemSize(tensor.dtype) == size)
        ordered.push_back(std::move(tensor));
  tensors = std::move(ordered);
}
