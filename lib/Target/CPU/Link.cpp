//===- Link.cpp - Objects to an artefact ----------------------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// lld inside this process, the run-time C library by path: a machine that
// compiles models needs neither a compiler, nor binutils, nor start files.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Target/CPU/Codegen.h"
#include "lld/Common/Driver.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <dlfcn.h>
#include <link.h>
#include <mutex>

LLD_HAS_DRIVER(elf)

using namespace mlir;
using namespace mlir::ffn;

std::string mlir::ffn::getLibraryFolder() {
  Dl_info info;
  if (!::dladdr(reinterpret_cast<void *>(&getLibraryFolder), &info) ||
      !info.dli_fname)
    return ".";
  SmallString<256> path;
  if (llvm::sys::fs::real_path(info.dli_fname, path))
    path = info.dli_fname;
  return llvm::sys::path::parent_path(path).str();
}

/// Paths of the C library's parts: this process has them loaded.
static std::vector<std::string> findSystemLibraries() {
  std::vector<std::string> paths;
  ::dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *data) {
        StringRef name = llvm::sys::path::filename(info->dlpi_name);
        if (name == "libc.so.6" || name == "libm.so.6" ||
            name.starts_with("ld-linux"))
          static_cast<std::vector<std::string> *>(data)->push_back(
              info->dlpi_name);
        return 0;
      },
      &paths);
  llvm::sort(paths, [](const std::string &a, const std::string &b) {
    return llvm::sys::path::filename(a) < llvm::sys::path::filename(b);
  });
  return paths;
}

namespace {
/// lld resets every option of the process and parses its own -mllvm ones.
/// Those of the calling program are out of its sight while this lives.
class HiddenOptions {
public:
  HiddenOptions() {
    for (llvm::cl::SubCommand *command : llvm::cl::getRegisteredSubcommands()) {
      Saved &entry = saved.emplace_back();
      entry.command = command;
      exchange(entry);
    }
  }
  ~HiddenOptions() {
    for (Saved &entry : saved)
      exchange(entry);
  }
  HiddenOptions(const HiddenOptions &) = delete;

private:
  struct Saved {
    llvm::cl::SubCommand *command;
    SmallVector<llvm::cl::Option *, 4> positional, sinks;
    llvm::DenseMap<StringRef, llvm::cl::Option *> named;
    llvm::cl::Option *consumeAfter = nullptr;
  };
  std::vector<Saved> saved;

  static void exchange(Saved &entry) {
    entry.positional.swap(entry.command->PositionalOpts);
    entry.sinks.swap(entry.command->SinkOpts);
    entry.named.swap(entry.command->OptionsMap);
    std::swap(entry.consumeAfter, entry.command->ConsumeAfterOpt);
  }
};
} // namespace

LogicalResult mlir::ffn::linkArtefact(const LinkOptions &options,
                                      std::string &error) {
  // lld keeps global state.
  static std::mutex mutex;
  static bool usable = true;
  std::lock_guard<std::mutex> lock(mutex);
  if (!usable) {
    error = "the linker failed before and cannot run again in this process";
    return failure();
  }
  std::vector<std::string> system = findSystemLibraries();
  if (system.size() < 2) {
    error = "the run-time C library was not found in this process";
    return failure();
  }
  // Beside the output: that folder is the caller's to clean up.
  std::string scriptPath = options.output + ".map";
  {
    std::error_code code;
    llvm::raw_fd_ostream os(scriptPath, code);
    if (code) {
      error = "cannot write a temporary file: " + code.message();
      return failure();
    }
    os << "{\n";
    if (!options.exports.empty()) {
      os << "  global:";
      for (const std::string &name : options.exports)
        os << ' ' << name << ';';
      os << '\n';
    }
    os << "  local: *;\n};\n";
  }
  std::vector<std::string> args{"ld.lld", "--threads=1", "-o", options.output};
  auto add = [&](std::initializer_list<const char *> list) {
    args.insert(args.end(), list.begin(), list.end());
  };
  if (options.relocatable) {
    add({"-r"});
    system.clear();
  } else {
    if (options.executable)
      add({"-pie", "--dynamic-linker=/lib64/ld-linux-x86-64.so.2",
           "--entry=_start"});
    else
      add({"-shared"});
    add({"-nostdlib", "-z", "now", "-z", "relro", "-z", "noexecstack", "-z",
         "text", "--no-undefined", "--build-id=none", "--gc-sections",
         "--hash-style=gnu", "--strip-all"});
    args.push_back("--version-script=" + scriptPath);
  }
  args.insert(args.end(), options.objects.begin(), options.objects.end());
  add({"--whole-archive"});
  args.insert(args.end(), options.archives.begin(), options.archives.end());
  add({"--no-whole-archive", "--as-needed"});
  args.insert(args.end(), system.begin(), system.end());
  std::vector<const char *> pointers;
  for (const std::string &arg : args)
    pointers.push_back(arg.c_str());
  std::string out, text;
  llvm::raw_string_ostream outStream(out), errStream(text);
  lld::Result result;
  {
    HiddenOptions hidden;
    result = lld::lldMain(pointers, outStream, errStream,
                          {{lld::Gnu, &lld::elf::link}});
  }
  llvm::sys::fs::remove(scriptPath);
  usable = result.canRunAgain;
  if (result.retCode != 0) {
    error = text.empty() ? "linking failed" : text;
    return failure();
  }
  return success();
}
