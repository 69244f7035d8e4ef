//===- Doctor.cpp - ffnc doctor -------------------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Verb.h"
#include "ffn-mlir-c/Runtime.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/TargetParser/Host.h"
#include <sched.h>
#include <sys/syscall.h>

using namespace mlir;
using namespace mlir::ffn::driver;
namespace cl = llvm::cl;
namespace json = llvm::json;

static int doctor();
static Verb verb("doctor",
                 "tells what this machine offers, and what a compiled model "
                 "needs",
                 doctor, R"(
EXAMPLES:
  ffnc doctor
  ffnc doctor model.so --json
)");
static JSONOption asJson(verb);
static cl::opt<std::string> artefact(cl::Positional, cl::desc("[model.so]"),
                                     cl::sub(verb.command));

/// Features that levels of code are chosen by.
static constexpr const char *interesting[] = {
    "avx2",     "fma",      "f16c",       "avx512f",    "avx512bw",
    "avx512dq", "avx512vl", "avx512vnni", "avx512bf16", "avx512fp16",
    "avxvnni",  "amx-tile", "amx-bf16",   "amx-int8"};

static json::Object describeMachine() {
  json::Object features;
  auto host = llvm::sys::getHostCPUFeatures();
  for (const char *name : interesting)
    features[name] = host.lookup(name);
  cpu_set_t set;
  int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  // The system grants tile registers on request; asking is harmless.
  bool tiles = ::syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return json::Object{{"features", std::move(features)},
                      {"cpus", cpus},
                      {"amx_permission", tiles},
                      {"llvm", LLVM_VERSION_STRING},
                      {"runtime_abi", FFN_ABI_VERSION}};
}

/// Null after an error was printed.
static json::Value describeArtefact() {
  ffn_model loaded;
  if (ffn_load(artefact.c_str(), &loaded) != FFN_OK) {
    fail(ffn_load_error());
    return nullptr;
  }
  ffn_model_info info{};
  info.struct_size = sizeof info;
  if (loaded.api->model_info(&info) != FFN_OK) {
    fail(artefact + ": " + loaded.api->last_error());
    ffn_unload(&loaded);
    return nullptr;
  }
  ffn_session *session = nullptr;
  bool runs = loaded.api->session_create(nullptr, &session) == FFN_OK;
  // Copies: the texts go with the library.
  json::Object result{{"path", json::fixUTF8(artefact)},
                      {"producer", std::string(info.producer)},
                      {"level", std::string(info.level)},
                      {"features", std::string(info.features)},
                      {"numerics", std::string(info.numerics)},
                      {"weight_bytes", static_cast<int64_t>(info.weight_bytes)},
                      {"runs_here", runs}};
  if (!runs)
    result["reason"] = std::string(loaded.api->last_error());
  loaded.api->session_destroy(session);
  ffn_unload(&loaded);
  return result;
}

static int doctor() {
  json::Object report{{"machine", describeMachine()}};
  if (!artefact.empty()) {
    json::Value model = describeArtefact();
    if (model.getAsNull())
      return Diagnosed;
    report["model"] = std::move(model);
  }
  if (asJson) {
    printJSON(std::move(report));
    return Done;
  }
  const json::Object &machine = *report.getObject("machine");
  llvm::outs() << "CPUs for this process: " << *machine.getInteger("cpus")
               << "\nCPU features:";
  for (const char *name : interesting)
    if (*machine.getObject("features")->getBoolean(name))
      llvm::outs() << ' ' << name;
  llvm::outs() << "\nAMX tiles: "
               << (*machine.getBoolean("amx_permission") ? "granted"
                                                         : "not available")
               << "\nLLVM " << *machine.getString("llvm") << ", runtime ABI "
               << *machine.getInteger("runtime_abi") << '\n';
  if (const json::Object *model = report.getObject("model")) {
    llvm::outs() << *model->getString("path") << ": level "
                 << *model->getString("level") << ", needs "
                 << *model->getString("features") << ", "
                 << *model->getInteger("weight_bytes") << " bytes of weights, "
                 << (*model->getBoolean("runs_here") ? "runs here"
                                                     : "does not run here")
                 << '\n';
    if (auto reason = model->getString("reason"))
      llvm::outs() << "  " << *reason << '\n';
  }
  return Done;
}
