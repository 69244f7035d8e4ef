//===- Artefact.h - A compiled model and a session of it --------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_DRIVER_ARTEFACT_H
#define FFN_MLIR_DRIVER_ARTEFACT_H

#include "ffn-mlir/Driver/HostTensor.h"
#include "llvm/Support/JSON.h"
#include <map>
#include <memory>
#include <vector>

namespace mlir::ffn {

/// Sizes of symbolic dimensions by name.
using DimSizes = std::map<std::string, int64_t>;

/// A compiled model that is loaded, with one session. Loading runs code of the
/// file.
class Artefact {
public:
  /// An input or output.
  struct Value {
    std::string name;
    ffn_dtype dtype;
    /// -1 where the size is not static; `dimNames` has its expression then.
    llvm::SmallVector<int64_t, 4> shape;
    std::vector<std::string> dimNames;

    /// "int64 [batch, sequence]".
    std::string describe() const;
    /// The shape for sizes of the symbols; the error names a symbol that has
    /// none (FFN-R400).
    llvm::Expected<llvm::SmallVector<int64_t, 4>>
    resolve(const DimSizes &sizes) const;
  };
  struct Info {
    std::string producer, level, features, numerics;
    uint64_t weightBytes = 0;
  };

  /// `threads` 0: as many as the CPUs that the process may use.
  static llvm::Expected<std::unique_ptr<Artefact>> load(llvm::StringRef path,
                                                        unsigned threads = 0);
  ~Artefact();
  Artefact(const Artefact &) = delete;
  Artefact &operator=(const Artefact &) = delete;

  llvm::ArrayRef<Value> getInputs() const { return inputs; }
  llvm::ArrayRef<Value> getOutputs() const { return outputs; }
  const Info &getInfo() const { return info; }
  /// Index of the input or output of that name; -1 if there is none.
  int64_t findInput(llvm::StringRef name) const;
  int64_t findOutput(llvm::StringRef name) const;
  /// Bytes of scratch memory that the session holds.
  uint64_t getSessionMemory() const;

  /// An output that is an input and what follows it along an axis; both may lie
  /// in the same memory, with room for more.
  struct Append {
    int64_t input, output, axis;
  };
  llvm::ArrayRef<Append> getAppends() const { return appends; }
  /// Bytes that the last run wrote to outputs of such pairs.
  uint64_t getAppendedBytes() const;

  /// Time of one kernel, summed over its launches.
  struct KernelTime {
    std::string name;
    uint64_t launches = 0;
    double seconds = 0;
  };
  /// Starts to measure the kernels of the runs to come, from zero, or stops.
  llvm::Error setProfiling(bool on);
  /// The kernels that were launched since, the longest first.
  std::vector<KernelTime> getKernelTimes() const;

  /// Runs the model on all its inputs. `results` is made as long as there are
  /// outputs; memory of what is in it is used again.
  llvm::Error run(llvm::MutableArrayRef<HostTensor> arguments,
                  std::vector<HostTensor> &results);
  /// The same on tensors that lie apart; a tensor may be given twice.
  llvm::Error run(llvm::ArrayRef<HostTensor *> arguments,
                  std::vector<HostTensor> &results);
  /// The same on memory of the caller: an output for which `given` has data is
  /// written there, and its result is left alone.
  llvm::Error run(llvm::ArrayRef<ffn_tensor> arguments,
                  llvm::ArrayRef<ffn_tensor> given,
                  std::vector<HostTensor> &results);

  /// What it says of itself: info, inputs, outputs.
  llvm::json::Object toJSON() const;

private:
  Artefact() = default;
  llvm::Error readSignature();
  struct Library;
  std::unique_ptr<Library> library;
  ffn_session *session = nullptr;
  std::vector<Value> inputs, outputs;
  std::vector<Append> appends;
  Info info;
};

} // namespace mlir::ffn

#endif // FFN_MLIR_DRIVER_ARTEFACT_H
