//===- RuntimeTest.cpp - The C ABI over a hand-made model -----------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// The archive that goes into artefacts, linked with a model written here: y =
// 2 x + w over [batch, seq], z of shape [batch, past + seq].
//
//===----------------------------------------------------------------------===//

#define FFN_NO_LOADER
#include "ffn-mlir-c/Runtime.h"
#include "ffn-mlir/Target/Descriptor.h"
#include "gtest/gtest.h"
#include <atomic>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>
#include <unistd.h>
#include <vector>
#include <xmmintrin.h>

using namespace mlir::ffn;

extern "C" {
// Filled before main; the runtime reads them on first use.
unsigned char ffn_model_descriptor[4096];
uint64_t ffn_model_descriptor_size;
alignas(64) unsigned char ffn_model_weights[4] = {0, 0, 0x80, 0x3f}; // 1.0f
struct ModelKernel {
  void (*body)(void *, int64_t, int64_t);
  const char *name;
};
extern const ModelKernel ffn_model_kernels[1];
extern const uint64_t ffn_model_num_kernels = 1;

void *ffn_rt_alloc(int64_t bytes);
void ffn_rt_free(void *pointer);
void ffn_parallel_for(void (*body)(void *, int64_t, int64_t), void *args,
                      int64_t tasks, int64_t grain);
const ffn_api *ffn_get_api(uint32_t version);
}

namespace ffn::rt {
uint32_t countCpus();
uint32_t countQuotaCpus(const char *groups, const char *mount);
} // namespace ffn::rt

namespace {
std::atomic<int64_t> allocationRequest{0};
std::atomic<bool> sawFlushToZero{false};
/// Called for every part of the parallel region, if set.
std::atomic<void (*)()> partHook{nullptr};

struct Memref2 {
  float *allocated, *data;
  int64_t offset, sizes[2], strides[2];
};
struct Memref1 {
  char *allocated, *data;
  int64_t offset, size, stride;
};

struct Work {
  const float *x;
  float *y;
  float w;
};

bool fillDescriptor() {
  ModelDescriptor descriptor;
  descriptor.producer = "test";
  descriptor.level = "baseline";
  descriptor.features = {"sse4.2"};
  descriptor.symbols = {{"batch", 0, 0}, {"seq", 0, 1}, {"past", 1, 1}};
  DimExpr batch = DimExpr::symbol("batch"), seq = DimExpr::symbol("seq"),
          past = DimExpr::symbol("past");
  descriptor.inputs = {{"x", {2, 32}, {batch, seq}},
                       {"p", {2, 32}, {batch, past}}};
  descriptor.outputs = {{"y", {2, 32}, {batch, seq}},
                        {"z", {2, 32}, {batch, past + seq}}};
  descriptor.weightBytes = sizeof ffn_model_weights;
  std::vector<uint8_t> bytes;
  std::string error;
  if (failed(descriptor.serialize(bytes, error)) ||
      bytes.size() > sizeof ffn_model_descriptor)
    std::abort();
  std::memcpy(ffn_model_descriptor, bytes.data(), bytes.size());
  ffn_model_descriptor_size = bytes.size();
  return true;
}
const bool filled = fillDescriptor();

void computeY(void *context, int64_t begin, int64_t end) {
  auto &work = *static_cast<Work *>(context);
  if (auto hook = partHook.load())
    hook();
  for (int64_t i = begin; i < end; ++i)
    work.y[i] = 2 * work.x[i] + work.w;
}
} // namespace

const ModelKernel ffn_model_kernels[1] = {{computeY, "y"}};

extern "C" void ffn_model_entry(void **args) {
  auto &x = *static_cast<Memref2 *>(args[0]);
  auto &y = *static_cast<Memref2 *>(args[2]);
  auto &z = *static_cast<Memref2 *>(args[3]);
  auto &weights = *static_cast<Memref1 *>(args[4]);
  if (_mm_getcsr() & 0x8040)
    sawFlushToZero = true;
  if (int64_t bytes = allocationRequest.load())
    ffn_rt_alloc(bytes);
  void *scratch = ffn_rt_alloc(1000);
  ffn_rt_free(scratch);
  float w;
  std::memcpy(&w, weights.data, sizeof w);
  Work work{x.data, y.data, w};
  ffn_parallel_for(computeY, &work, x.sizes[0] * x.sizes[1], 1);
  for (int64_t i = 0; i < z.sizes[0] * z.sizes[1]; ++i)
    z.data[i] = static_cast<float>(i);
}

namespace {
struct Tensor {
  std::vector<float> data;
  std::vector<int64_t> shape;
  ffn_tensor tensor;

  explicit Tensor(std::vector<int64_t> dims) : shape(std::move(dims)) {
    size_t count = 1;
    for (int64_t dim : shape)
      count *= dim;
    data.resize(count);
    for (size_t i = 0; i < count; ++i)
      data[i] = static_cast<float>(i) * 0.25f;
    tensor = {data.data(),
              {1, 0},
              static_cast<int32_t>(shape.size()),
              {2, 32, 1},
              shape.data(),
              nullptr,
              0};
  }
  Tensor(const Tensor &) = delete;
};

class Runtime : public testing::Test {
protected:
  void SetUp() override {
    api = ffn_get_api(FFN_ABI_VERSION);
    ASSERT_NE(api, nullptr);
    ASSERT_EQ(api->session_create(nullptr, &session), FFN_OK)
        << api->last_error();
  }
  void TearDown() override { api->session_destroy(session); }

  ffn_status run(Tensor &x, Tensor &p, Tensor &y, Tensor &z) {
    ffn_tensor inputs[2] = {x.tensor, p.tensor};
    ffn_tensor outputs[2] = {y.tensor, z.tensor};
    return api->session_run(session, inputs, 2, outputs, 2);
  }
  const ffn_api *api = nullptr;
  ffn_session *session = nullptr;
};
} // namespace

TEST_F(Runtime, RefusesOtherVersions) {
  EXPECT_EQ(ffn_get_api(FFN_ABI_VERSION + 1), nullptr);
  EXPECT_EQ(ffn_get_api(0), nullptr);
}

TEST_F(Runtime, TellsTheSignature) {
  ffn_model_info info{};
  EXPECT_EQ(api->model_info(&info), FFN_E_ARGUMENT);
  info.struct_size = sizeof info;
  ASSERT_EQ(api->model_info(&info), FFN_OK);
  EXPECT_EQ(info.num_inputs, 2u);
  EXPECT_STREQ(info.features, "sse4.2");
  ffn_value_info value{};
  value.struct_size = sizeof value;
  ASSERT_EQ(api->output_info(1, &value), FFN_OK);
  EXPECT_STREQ(value.name, "z");
  EXPECT_EQ(value.ndim, 2);
  EXPECT_EQ(value.shape[1], -1);
  EXPECT_STREQ(value.dim_names[0], "batch");
  EXPECT_EQ(api->output_info(2, &value), FFN_E_ARGUMENT);
}

TEST_F(Runtime, ComputesAndLeavesInputsAlone) {
  for (auto [batch, seq, past] : {std::array<int64_t, 3>{2, 3, 4},
                                  {1, 1, 0},
                                  {0, 5, 2},
                                  {3, 0, 1},
                                  {7, 257, 1}}) {
    Tensor x({batch, seq}), p({batch, past}), y({batch, seq}),
        z({batch, past + seq});
    std::vector<float> before = x.data;
    ffn_tensor inputs[2] = {x.tensor, p.tensor};
    int64_t shape[2];
    ASSERT_EQ(api->output_shape(inputs, 2, 1, shape, 2), FFN_OK);
    EXPECT_EQ(shape[1], past + seq);
    ASSERT_EQ(run(x, p, y, z), FFN_OK) << api->last_error();
    EXPECT_EQ(x.data, before);
    for (size_t i = 0; i < y.data.size(); ++i)
      ASSERT_EQ(y.data[i], 2 * before[i] + 1);
  }
}

TEST_F(Runtime, NamesWhatIsWrong) {
  Tensor x({2, 3}), p({2, 4}), y({2, 3}), z({2, 7}), other({3, 4});
  auto expectStatus = [&](ffn_status expected, const char *code) {
    EXPECT_EQ(run(x, p, y, z), expected);
    EXPECT_NE(std::strstr(api->last_error(), code), nullptr)
        << api->last_error();
  };
  ffn_tensor good = x.tensor;
  x.tensor.dtype.bits = 64;
  expectStatus(FFN_E_DTYPE, "FFN-R401");
  x.tensor = good;
  x.tensor.ndim = 1;
  expectStatus(FFN_E_RANK, "FFN-R402");
  x.tensor = good;
  x.tensor.shape = nullptr;
  expectStatus(FFN_E_ARGUMENT, "FFN-R400");
  x.tensor = good;
  x.tensor.data = nullptr;
  expectStatus(FFN_E_ARGUMENT, "FFN-R400");
  x.tensor = good;
  x.tensor.byte_offset = 2;
  expectStatus(FFN_E_LAYOUT, "FFN-R406");
  x.tensor = good;
  x.tensor.device.device_type = 2;
  expectStatus(FFN_E_DEVICE, "FFN-R405");
  x.tensor = good;
  int64_t strides[2] = {1, 2};
  x.tensor.strides = strides;
  expectStatus(FFN_E_LAYOUT, "FFN-R406");
  x.tensor = good;
  int64_t negative[2] = {2, -3};
  x.tensor.shape = negative;
  expectStatus(FFN_E_SHAPE, "FFN-R403");
  int64_t huge[2] = {INT64_MAX, INT64_MAX};
  x.tensor.shape = huge;
  EXPECT_NE(run(x, p, y, z), FFN_OK);
  x.tensor = good;

  ffn_tensor goodP = p.tensor;
  p.tensor = other.tensor; // batch is 2 for x and 3 for p
  expectStatus(FFN_E_SHAPE, "batch");
  p.tensor = goodP;
  ffn_tensor goodY = y.tensor;
  y.tensor.data = x.data.data();
  expectStatus(FFN_E_OVERLAP, "FFN-R407");
  y.tensor.data = z.data.data();
  expectStatus(FFN_E_OVERLAP, "FFN-R407");
  y.tensor = goodY;
  EXPECT_EQ(run(x, p, y, z), FFN_OK) << api->last_error();
  EXPECT_EQ(api->session_run(nullptr, nullptr, 0, nullptr, 0), FFN_E_ARGUMENT);
  EXPECT_EQ(api->session_run(session, nullptr, 2, nullptr, 2), FFN_E_ARGUMENT);
  ffn_session *none = nullptr;
  ffn_session_options options{sizeof(ffn_session_options), 257};
  EXPECT_EQ(api->session_create(&options, &none), FFN_E_ARGUMENT);
  EXPECT_EQ(none, nullptr);
}

TEST_F(Runtime, SurvivesFailedAllocation) {
  Tensor x({2, 3}), p({2, 4}), y({2, 3}), z({2, 7});
  for (int64_t request : {int64_t(-1), int64_t(1) << 47}) {
    allocationRequest = request;
    EXPECT_EQ(run(x, p, y, z), FFN_E_NOMEM);
  }
  allocationRequest = 0;
  EXPECT_EQ(run(x, p, y, z), FFN_OK);
  uint64_t held = api->session_memory(session);
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(run(x, p, y, z), FFN_OK);
  EXPECT_EQ(api->session_memory(session), held);
}

TEST_F(Runtime, MeasuresKernelsWhenAsked) {
  Tensor x({3, 5}), p({3, 2}), y({3, 5}), z({3, 7});
  auto timeOf = [&](uint32_t index) {
    ffn_kernel_time time{};
    time.struct_size = sizeof time;
    EXPECT_EQ(api->session_kernel_time(session, index, &time), FFN_OK);
    return time;
  };
  ASSERT_EQ(run(x, p, y, z), FFN_OK);
  EXPECT_STREQ(timeOf(0).name, "y");
  EXPECT_EQ(timeOf(0).launches, 0u);
  EXPECT_EQ(timeOf(1).name, nullptr);
  ASSERT_EQ(api->session_profile(session, 1), FFN_OK);
  ASSERT_EQ(run(x, p, y, z), FFN_OK);
  ASSERT_EQ(run(x, p, y, z), FFN_OK);
  EXPECT_EQ(timeOf(0).launches, 2u);
  EXPECT_GT(timeOf(0).nanoseconds, 0u);
  ASSERT_EQ(api->session_profile(session, 0), FFN_OK);
  ASSERT_EQ(run(x, p, y, z), FFN_OK);
  EXPECT_EQ(timeOf(0).launches, 2u);
  ASSERT_EQ(api->session_profile(session, 1), FFN_OK);
  EXPECT_EQ(timeOf(0).launches, 0u);

  ffn_kernel_time unset{};
  EXPECT_EQ(api->session_kernel_time(session, 0, &unset), FFN_E_ARGUMENT);
  EXPECT_EQ(api->session_kernel_time(session, 0, nullptr), FFN_E_ARGUMENT);
  EXPECT_EQ(api->session_kernel_time(nullptr, 0, &unset), FFN_E_ARGUMENT);
  EXPECT_EQ(api->session_profile(nullptr, 1), FFN_E_ARGUMENT);
}

TEST_F(Runtime, KeepsFloatingPointModesApart) {
  Tensor x({2, 3}), p({2, 4}), y({2, 3}), z({2, 7});
  unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
  sawFlushToZero = false;
  EXPECT_EQ(run(x, p, y, z), FFN_OK);
  EXPECT_EQ(_mm_getcsr() & ~0x3fu, (before | 0x8040) & ~0x3fu);
  _mm_setcsr(before);
  EXPECT_FALSE(sawFlushToZero);
}

TEST_F(Runtime, ThreadsShareOneModel) {
  std::atomic<int> failures{0};
  auto call = [&](uint32_t threads, int calls) {
    ffn_session_options options{sizeof(ffn_session_options), threads};
    ffn_session *mine = nullptr;
    if (api->session_create(&options, &mine) != FFN_OK) {
      ++failures;
      return;
    }
    for (int i = 0; i < calls; ++i) {
      Tensor x({3, 1 + i % 50}), p({3, 0}), y({3, 1 + i % 50}),
          z({3, 1 + i % 50});
      ffn_tensor inputs[2] = {x.tensor, p.tensor};
      ffn_tensor outputs[2] = {y.tensor, z.tensor};
      // Two callers of one session wait for each other.
      ffn_session *used = i % 2 ? mine : session;
      failures += api->session_run(used, inputs, 2, outputs, 2) != FFN_OK;
      for (size_t j = 0; j < y.data.size(); ++j)
        failures += y.data[j] != 2 * x.data[j] + 1;
    }
    api->session_destroy(mine);
  };
  std::vector<std::thread> callers;
  for (uint32_t i = 0; i < 8; ++i)
    callers.emplace_back(call, 1 + i % 4, 200);
  for (std::thread &caller : callers)
    caller.join();
  EXPECT_EQ(failures, 0);
}

/// Where threads outnumber the CPUs, whoever waits sleeps: spinning would take
/// the CPU of a thread with work.
TEST_F(Runtime, SleepsWhereThreadsOutnumberCpus) {
  using namespace std::chrono_literals;
  static std::thread::id caller;
  static std::atomic<int> begun;
  caller = std::this_thread::get_id();
  begun = 0;
  ffn_session_options options{sizeof(ffn_session_options),
                              std::min(ffn::rt::countCpus() + 1, 256u)};
  ffn_session *crowded = nullptr;
  ASSERT_EQ(api->session_create(&options, &crowded), FFN_OK);
  // Two parts, and with two CPUs two threads: the caller's ends at once, the
  // other one takes a while in which nobody has anything to do.
  partHook = [] {
    ++begun;
    for (int i = 0; i < 200 && begun < 2; ++i)
      std::this_thread::sleep_for(1ms);
    if (std::this_thread::get_id() != caller)
      std::this_thread::sleep_for(200ms);
  };
  Tensor x({2, 1}), p({2, 0}), y({2, 1}), z({2, 1});
  ffn_tensor inputs[2] = {x.tensor, p.tensor};
  ffn_tensor outputs[2] = {y.tensor, z.tensor};
  timespec before, after;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  EXPECT_EQ(api->session_run(crowded, inputs, 2, outputs, 2), FFN_OK);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  partHook = nullptr;
  api->session_destroy(crowded);
  double seconds = static_cast<double>(after.tv_sec - before.tv_sec) +
                   1e-9 * static_cast<double>(after.tv_nsec - before.tv_nsec);
  EXPECT_LT(seconds, 0.1);
  EXPECT_EQ(y.data, (std::vector<float>{1.0f, 1.5f}));
}

TEST(Cpus, FollowsControlGroups) {
  namespace fs = std::filesystem;
  fs::path root = fs::path(testing::TempDir()) /
                  ("ffn-cgroups-" + std::to_string(getpid()));
  auto write = [&](const fs::path &path, const char *text) {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  };
  auto count = [&](const char *groups) {
    write("groups", groups);
    return ffn::rt::countQuotaCpus((root / "groups").c_str(),
                                   (root / "v").c_str());
  };
  EXPECT_EQ(ffn::rt::countQuotaCpus((root / "none").c_str(), "/none"), 0u);
  write("v/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(count("0::/a/b\n"), 0u);
  write("v/a/cpu.max", "250000 100000\n");
  EXPECT_EQ(count("0::/a/b\n"), 3u); // of the group around it
  EXPECT_EQ(count("0::/\n"), 0u);
  write("v/cpu.max", "50000 100000\n");
  EXPECT_EQ(count("0::/a/b\n"), 1u); // the narrowest
  EXPECT_EQ(count("0::/gone\n"), 1u);
  EXPECT_EQ(count("0::/\n"), 1u);
  fs::remove_all(root / "v");
  write("v/cpu/c/cpu.cfs_quota_us", "400000\n");
  write("v/cpu/c/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(count("5:memory:/m\n4:cpu,cpuacct:/c/d\n0::/\n"), 4u);
  EXPECT_EQ(count("4:cpuset:/c\n"), 0u);
  write("v/cpu/c/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(count("4:cpuacct,cpu:/c"), 0u);
  EXPECT_EQ(count("no colons"), 0u);
  EXPECT_EQ(count("4:cpu"), 0u);
  fs::remove_all(root);
}
