//===- Statistics.cpp - Sums over the rows of activations -----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Profile/Statistics.h"
#include "ffn-mlir/Support/DurableFile.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <numeric>
#include <unistd.h>

using namespace mlir::ffn;
using llvm::ArrayRef;
using llvm::Error;

// The tool is built for any x86-64; these loops are worth more. Products and
// sums stay apart, so that every copy gives the same bits.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define FFN_FOR_EACH_LEVEL                                                     \
  __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FFN_FOR_EACH_LEVEL
#endif

Statistic::~Statistic() = default;

TokenRows::TokenRows(const HostTensor &tensor) : tensor(&tensor) {
  ArrayRef<int64_t> shape = tensor.getShape();
  width = shape.empty() ? 1 : static_cast<size_t>(shape.back());
  rows = width ? tensor.getNumElements() / width : 0;
  ffn_dtype dtype = tensor.getDtype();
  if (dtype.code == 2 && dtype.bits == 32) {
    f32 = tensor.as<float>().data();
  } else if (dtype.code == 2 && dtype.bits == 64) {
    f64 = tensor.as<double>().data();
  } else {
    widened.resize(tensor.getNumElements());
    for (size_t i = 0; i < widened.size(); ++i)
      widened[i] = static_cast<float>(tensor.getDouble(i));
    f32 = widened.data();
  }
}

static Error notFinite(llvm::StringRef where) {
  return driverError(where + ": activations are not finite numbers on these "
                             "samples [FFN-D212]");
}

static bool allFinite(ArrayRef<double> values) {
  return llvm::all_of(values,
                      [](double value) { return std::isfinite(value); });
}

/// Channels of a part: enough to be worth a task, and whole cache lines.
static constexpr size_t kChannels = 256;

static std::pair<size_t, size_t> getPart(unsigned part, size_t width,
                                         size_t size) {
  return {part * size, std::min(width, (part + 1) * size)};
}

//===----------------------------------------------------------------------===//
// Moments
//===----------------------------------------------------------------------===//

namespace {
struct MomentSums {
  double *sum, *square, *absolute, *sample, *first, *deviation;
  int64_t *fired;
};
} // namespace

#define FFN_MOMENTS(NAME, TYPE)                                                \
  FFN_FOR_EACH_LEVEL static void NAME(const TYPE *x, size_t rows,              \
                                      size_t stride, size_t n, MomentSums s) { \
    _Pragma("clang fp contract(off)") double *__restrict sum = s.sum;          \
    double *__restrict square = s.square;                                      \
    double *__restrict absolute = s.absolute;                                  \
    for (size_t r = 0; r < rows; ++r, x += stride)                             \
      for (size_t c = 0; c < n; ++c) {                                         \
        double v = x[c];                                                       \
        sum[c] += v;                                                           \
        square[c] += v * v;                                                    \
        absolute[c] += __builtin_fabs(v);                                      \
      }                                                                        \
  }
FFN_MOMENTS(addMomentsF32, float)
FFN_MOMENTS(addMomentsF64, double)

// The variance is that of the distances from the first row, so that a channel
// that never changes has exactly none.
#define FFN_HIDDEN(NAME, TYPE)                                                 \
  FFN_FOR_EACH_LEVEL static void NAME(const TYPE *x, size_t rows,              \
                                      size_t stride, size_t n, MomentSums s,   \
                                      double threshold, bool magnitude) {      \
    _Pragma("clang fp contract(off)") double *__restrict sample = s.sample;    \
    double *__restrict deviation = s.deviation;                                \
    const double *__restrict first = s.first;                                  \
    int64_t *__restrict fired = s.fired;                                       \
    for (size_t r = 0; r < rows; ++r, x += stride)                             \
      for (size_t c = 0; c < n; ++c) {                                         \
        double v = x[c], d = v - first[c];                                     \
        sample[c] += v * v;                                                    \
        deviation[c] += d * d;                                                 \
        double seen = magnitude ? __builtin_fabs(v) : v;                       \
        fired[c] += seen > threshold;                                          \
      }                                                                        \
  }
FFN_HIDDEN(addHiddenF32, float)
FFN_HIDDEN(addHiddenF64, double)

namespace {
class Moments : public Statistic {
public:
  Moments(size_t width, const MomentOptions &options)
      : width(width), options(options), sum(width), square(width),
        absolute(width) {
    if (!options.hidden)
      return;
    sample.resize(width);
    first.resize(width);
    deviation.resize(width);
    norms.resize(width);
    fired.resize(width);
  }

  uint64_t getBytes() const override {
    return width * (options.hidden ? 8 : 3) * sizeof(double);
  }
  unsigned getNumParts() const override {
    return llvm::divideCeil(width, kChannels);
  }

  Error add(unsigned part, ArrayRef<const TokenRows *> rows) override {
    const TokenRows &x = *rows[0];
    auto [begin, end] = getPart(part, width, kChannels);
    size_t n = end - begin;
    MomentSums sums{&sum[begin], &square[begin], &absolute[begin], nullptr,
                    nullptr,     nullptr,        nullptr};
    if (part == 0)
      added = x.getNumRows();
    // Without rows there is no memory to point into.
    if (x.getNumRows() == 0)
      return Error::success();
    if (x.floats())
      addMomentsF32(x.floats() + begin, x.getNumRows(), width, n, sums);
    else
      addMomentsF64(x.doubles() + begin, x.getNumRows(), width, n, sums);
    if (!options.hidden)
      return Error::success();
    sums.sample = &sample[begin];
    sums.first = &first[begin];
    sums.deviation = &deviation[begin];
    sums.fired = &fired[begin];
    if (count == 0)
      for (size_t c = 0; c < n; ++c)
        sums.first[c] =
            x.floats() ? x.floats()[begin + c] : x.doubles()[begin + c];
    if (x.floats())
      addHiddenF32(x.floats() + begin, x.getNumRows(), width, n, sums,
                   options.threshold, options.magnitude);
    else
      addHiddenF64(x.doubles() + begin, x.getNumRows(), width, n, sums,
                   options.threshold, options.magnitude);
    return Error::success();
  }

  void endSample() override {
    count += added;
    ++samples;
    for (auto [norm, squares] : llvm::zip_equal(norms, sample)) {
      norm += std::sqrt(squares);
      squares = 0;
    }
  }

  Error finish(std::vector<SafetensorsSource> &tensors) override {
    if (!allFinite(square))
      return notFinite(prefix);
    auto give = [&](llvm::StringRef name, llvm::StringRef dtype, auto values) {
      int64_t size = static_cast<int64_t>(values.size());
      tensors.push_back(SafetensorsSource::ofVector(
          prefix + "/" + name.str(), dtype, size, std::move(values)));
    };
    if (options.hidden) {
      std::vector<double> mean(width), second(width);
      double n = static_cast<double>(std::max<uint64_t>(count, 1));
      for (size_t c = 0; c < width; ++c) {
        mean[c] = sum[c] / n;
        second[c] = square[c] / n;
        double shift = mean[c] - first[c];
        deviation[c] = std::max(0.0, deviation[c] / n - shift * shift);
        norms[c] /= static_cast<double>(std::max<uint64_t>(samples, 1));
      }
      give("mean", "F64", std::move(mean));
      give("variance", "F64", std::move(deviation));
      give("second_moment", "F64", std::move(second));
      give("sample_norm", "F64", std::move(norms));
      give("fired", "I64", std::move(fired));
    }
    give("sum", "F64", std::move(sum));
    give("sum_sq", "F64", std::move(square));
    give("abs_sum", "F64", std::move(absolute));
    give("count", "I64", std::vector<int64_t>{static_cast<int64_t>(count)});
    return Error::success();
  }

private:
  size_t width;
  MomentOptions options;
  uint64_t count = 0, added = 0, samples = 0;
  std::vector<double> sum, square, absolute, sample, first, deviation, norms;
  std::vector<int64_t> fired;
};
} // namespace

std::unique_ptr<Statistic>
mlir::ffn::makeMoments(size_t width, const MomentOptions &options) {
  return std::make_unique<Moments>(width, options);
}

//===----------------------------------------------------------------------===//
// Histogram, the largest, the rows themselves
//===----------------------------------------------------------------------===//

static constexpr size_t kBins = 16384;

namespace {
class Histogram : public Statistic {
public:
  uint64_t getBytes() const override { return kParts * kBins * 8; }
  unsigned getNumParts() const override { return kParts; }

  Error add(unsigned part, ArrayRef<const TokenRows *> rows) override {
    const TokenRows &x = *rows[0];
    size_t n = x.getNumRows() * x.getWidth();
    size_t begin = n * part / kParts, end = n * (part + 1) / kParts;
    int64_t *counts = &bins[part * kBins];
    for (size_t i = begin; i < end; ++i) {
      float value =
          x.floats() ? x.floats()[i] : static_cast<float>(x.doubles()[i]);
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      ++counts[(bits & 0x7fffffff) >> 17];
    }
    return Error::success();
  }

  Error finish(std::vector<SafetensorsSource> &tensors) override {
    std::vector<int64_t> total(kBins);
    for (size_t i = 0; i < bins.size(); ++i)
      total[i % kBins] += bins[i];
    tensors.push_back(SafetensorsSource::ofVector(prefix + "/histogram", "I64",
                                                  static_cast<int64_t>(kBins),
                                                  std::move(total)));
    return Error::success();
  }

private:
  static constexpr unsigned kParts = 4;
  std::vector<int64_t> bins = std::vector<int64_t>(kParts * kBins);
};

class TopK : public Statistic {
public:
  TopK(std::string name, size_t width, size_t k)
      : name(std::move(name)), width(width), k(std::min(k, width)) {}

  uint64_t getBytes() const override {
    // Grows with the tokens; what there is so far and a tensor of it.
    return hits.size() * sizeof(uint32_t) + width;
  }

  Error add(unsigned, ArrayRef<const TokenRows *> rows) override {
    const TokenRows &x = *rows[0];
    std::vector<std::pair<double, uint32_t>> order(width);
    for (size_t r = 0; r < x.getNumRows(); ++r) {
      for (size_t c = 0; c < width; ++c) {
        size_t i = r * width + c;
        double value = x.floats() ? x.floats()[i] : x.doubles()[i];
        if (!std::isfinite(value))
          return notFinite(prefix);
        order[c] = {-std::fabs(value), static_cast<uint32_t>(c)};
      }
      if (k < width)
        std::nth_element(order.begin(), order.begin() + k, order.end());
      for (size_t i = 0; i < k; ++i)
        hits.push_back(order[i].second);
    }
    tokens += x.getNumRows();
    return Error::success();
  }

  Error finish(std::vector<SafetensorsSource> &tensors) override {
    size_t bytes = llvm::divideCeil(tokens, 8);
    auto kept = std::make_shared<std::vector<uint32_t>>(std::move(hits));
    size_t perToken = k, neurons = width;
    tensors.push_back(
        {prefix + "/" + name,
         "U8",
         {static_cast<int64_t>(width), static_cast<int64_t>(bytes)},
         [=](SafetensorsSource::Sink sink) -> Error {
           // A block of neurons at a time; the whole may be large.
           size_t block =
               std::clamp<size_t>((8u << 20) / (bytes + 1), 1, neurons);
           std::vector<char> bits;
           for (size_t begin = 0; begin < neurons; begin += block) {
             size_t end = std::min(neurons, begin + block);
             bits.assign((end - begin) * bytes, 0);
             for (size_t i = 0; i < kept->size(); ++i) {
               size_t neuron = (*kept)[i], token = i / perToken;
               if (neuron >= begin && neuron < end)
                 bits[(neuron - begin) * bytes + token / 8] |=
                     static_cast<char>(1 << (token % 8));
             }
             if (Error error = sink(bits))
               return error;
           }
           return Error::success();
         }});
    return Error::success();
  }

private:
  std::string name;
  size_t width, k, tokens = 0;
  std::vector<uint32_t> hits;
};

class Raw : public Statistic {
public:
  Raw(std::string name, std::string path)
      : name(std::move(name)), path(std::move(path)) {}
  ~Raw() override {
    if (fd >= 0) {
      ::close(fd);
      ::unlink(path.c_str());
    }
  }

  uint64_t getBytes() const override { return 1 << 20; }

  Error add(unsigned, ArrayRef<const TokenRows *> rows) override {
    if (fd < 0)
      fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
      return cannot("write");
    const HostTensor &tensor = rows[0]->getTensor();
    dtype = tensor.getDtype();
    if (tokens && width != rows[0]->getWidth())
      return driverError(prefix + ": samples differ in width [FFN-D208]");
    width = rows[0]->getWidth();
    tokens += rows[0]->getNumRows();
    if (std::error_code code = faultPoint("spool.write")) {
      errno = code.value();
      return cannot("write");
    }
    for (size_t done = 0; done < tensor.getNumBytes();) {
      ssize_t n =
          ::write(fd, tensor.data() + done, tensor.getNumBytes() - done);
      if (n < 0 && errno != EINTR)
        return cannot("write");
      done += std::max<ssize_t>(n, 0);
    }
    return Error::success();
  }

  Error finish(std::vector<SafetensorsSource> &tensors) override {
    std::string type =
        dtype.code == 4 ? "BF16" : "F" + std::to_string(dtype.bits);
    tensors.push_back(
        {prefix + "/" + name,
         type,
         {static_cast<int64_t>(tokens), static_cast<int64_t>(width)},
         [this](SafetensorsSource::Sink sink) -> Error {
           uint64_t size = tokens * width * (dtype.bits / 8);
           std::vector<char> block;
           for (uint64_t at = 0; at < size; at += block.size()) {
             block.resize(std::min<uint64_t>(1 << 20, size - at));
             ssize_t n = ::pread(fd, block.data(), block.size(), at);
             if (n < 0 && errno == EINTR) {
               block.clear();
               continue;
             }
             if (n <= 0)
               return cannot("read");
             block.resize(n);
             if (Error error = sink(block))
               return error;
           }
           return Error::success();
         }});
    return Error::success();
  }

private:
  Error cannot(llvm::StringRef verb) {
    return driverError("cannot " + verb + " '" + path +
                       "': " + std::strerror(errno) + " [FFN-O101]");
  }
  std::string name;
  size_t width = 0, tokens = 0;
  std::string path;
  int fd = -1;
  ffn_dtype dtype = {2, 32, 1};
};
} // namespace

std::unique_ptr<Statistic> mlir::ffn::makeHistogram() {
  return std::make_unique<Histogram>();
}
std::unique_ptr<Statistic> mlir::ffn::makeTopK(std::string name, size_t width,
                                               size_t k) {
  return std::make_unique<TopK>(std::move(name), width, k);
}
std::unique_ptr<Statistic> mlir::ffn::makeRaw(std::string name,
                                              std::string spool) {
  return std::make_unique<Raw>(std::move(name), std::move(spool));
}

//===----------------------------------------------------------------------===//
// Influence
//===----------------------------------------------------------------------===//

/// Squares of in and in + out, of out, and the product of the first two, each
/// in eight partial sums.
template <typename T>
static void measureRow(const T *in, const T *result, size_t n,
                       double (&total)[4]) {
#pragma clang fp contract(off)
  double parts[4][8] = {};
  for (size_t c = 0; c < n; ++c) {
    double x = in[c], y = result[c], out = y - x;
    parts[0][c % 8] += x * x;
    parts[1][c % 8] += y * y;
    parts[2][c % 8] += out * out;
    parts[3][c % 8] += x * y;
  }
  for (unsigned i = 0; i < 4; ++i)
    total[i] = std::accumulate(std::begin(parts[i]), std::end(parts[i]), 0.0);
}

namespace {
class Influence : public Statistic {
public:
  uint64_t getBytes() const override { return 1 << 16; }

  Error add(unsigned, ArrayRef<const TokenRows *> rows) override {
    const TokenRows &in = *rows[0], &result = *rows[1];
    size_t n = in.getWidth();
    for (size_t r = 0; r < in.getNumRows(); ++r) {
      double total[4];
      if (in.floats())
        measureRow(in.floats() + r * n, result.floats() + r * n, n, total);
      else
        measureRow(in.doubles() + r * n, result.doubles() + r * n, n, total);
      if (total[0] == 0 || total[1] == 0)
        continue;
      ++count;
      ratio += std::sqrt(total[2] / total[0]);
      cosine += total[3] / std::sqrt(total[0] * total[1]);
    }
    return Error::success();
  }

  Error finish(std::vector<SafetensorsSource> &tensors) override {
    if (!std::isfinite(ratio) || !std::isfinite(cosine))
      return notFinite(prefix);
    double n = static_cast<double>(std::max<int64_t>(count, 1));
    auto give = [&](llvm::StringRef name, llvm::StringRef dtype, auto value) {
      tensors.push_back(SafetensorsSource::ofVector(
          prefix + "/" + name.str(), dtype, int64_t(1), std::vector{value}));
    };
    give("norm_ratio", "F64", ratio / n);
    give("cosine", "F64", cosine / n);
    give("measured", "I64", count);
    return Error::success();
  }

private:
  int64_t count = 0;
  double ratio = 0, cosine = 0;
};
} // namespace

std::unique_ptr<Statistic> mlir::ffn::makeInfluence() {
  return std::make_unique<Influence>();
}
