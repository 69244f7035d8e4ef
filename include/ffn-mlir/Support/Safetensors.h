//===- Safetensors.h - The safetensors container ----------------*- C++ -*-===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Eight bytes with the length of a JSON header, the header, then the bytes of
// all tensors without a gap. A file may belong to an attacker: the header is
// read by a grammar of its own, its length is at most 100 MB and fits the file,
// no name comes twice, offsets neither overlap nor leave holes and end with the
// file, and sizes equal dtype times shape. Errors are FFN-D103.
//
//===----------------------------------------------------------------------===//

#ifndef FFN_MLIR_SUPPORT_SAFETENSORS_H
#define FFN_MLIR_SUPPORT_SAFETENSORS_H

#include "ffn-mlir/Support/Npy.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <map>
#include <memory>

namespace mlir::ffn {

class SafeFile;

/// One tensor of a file.
struct SafetensorsEntry {
  std::string name;
  /// "F64", "F32", "F16", "BF16", "I64" to "I8", "U64" to "U8", "BOOL".
  std::string dtype;
  llvm::SmallVector<int64_t, 4> shape;
  /// Position in the file, and size, in bytes.
  uint64_t offset = 0, size = 0;
};

/// Bytes of an element; 0 for a name that is none of the above.
unsigned getSafetensorsItemSize(llvm::StringRef dtype);

/// A file that is open and checked; its bytes are mapped.
class SafetensorsFile {
public:
  static llvm::Expected<std::unique_ptr<SafetensorsFile>>
  open(llvm::StringRef path);
  /// The same over bytes that `where` names and that outlive the object.
  static llvm::Expected<std::unique_ptr<SafetensorsFile>>
  fromMemory(llvm::ArrayRef<uint8_t> bytes, llvm::StringRef where);
  ~SafetensorsFile();

  /// In the order of their bytes.
  llvm::ArrayRef<SafetensorsEntry> getEntries() const { return entries; }
  /// Null if there is none of this name.
  const SafetensorsEntry *find(llvm::StringRef name) const;
  /// The strings under `__metadata__`.
  const std::map<std::string, std::string> &getMetadata() const {
    return metadata;
  }
  /// The elements; bfloat16 becomes float32, which NumPy has.
  llvm::Expected<NpyArray> readArray(const SafetensorsEntry &entry);
  /// Copies bytes [begin, begin + size of `buffer`) of the tensor.
  llvm::Error read(const SafetensorsEntry &entry, uint64_t begin,
                   llvm::MutableArrayRef<char> buffer);
  /// A view of all bytes while the object lives; empty where the file is not
  /// mapped.
  llvm::ArrayRef<char> view(const SafetensorsEntry &entry);

  /// These bytes of the tensor are no longer needed in memory.
  void drop(const SafetensorsEntry &entry, uint64_t begin, uint64_t size);

private:
  SafetensorsFile() = default;
  llvm::Error readHeader();
  llvm::Error checkLayout(uint64_t begin);
  std::shared_ptr<SafeFile> file;
  std::string where;
  std::vector<SafetensorsEntry> entries;
  llvm::StringMap<size_t> index;
  std::map<std::string, std::string> metadata;
};

/// One tensor to write: `write` gives all its bytes, in order, to a sink.
struct SafetensorsSource {
  using Sink = llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)>;
  std::string name, dtype;
  llvm::SmallVector<int64_t, 4> shape;
  std::function<llvm::Error(Sink)> write;

  /// A tensor whose bytes are kept with it.
  template <typename T>
  static SafetensorsSource ofVector(std::string name, llvm::StringRef dtype,
                                    llvm::ArrayRef<int64_t> shape,
                                    std::vector<T> values) {
    auto kept = std::make_shared<std::vector<T>>(std::move(values));
    return {std::move(name), dtype.str(),
            llvm::SmallVector<int64_t, 4>(shape.begin(), shape.end()),
            [kept](Sink sink) {
              return sink({reinterpret_cast<const char *>(kept->data()),
                           kept->size() * sizeof(T)});
            }};
  }
};

/// Writes a file with the tensors in this order to `sink`. Tensors of eight,
/// four and two bytes an element are aligned when they come in that order.
llvm::Error writeSafetensors(llvm::ArrayRef<SafetensorsSource> tensors,
                             const std::map<std::string, std::string> &metadata,
                             SafetensorsSource::Sink sink);

} // namespace mlir::ffn

#endif // FFN_MLIR_SUPPORT_SAFETENSORS_H
