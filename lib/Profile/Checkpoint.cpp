//===- Checkpoint.cpp - What a profile run has finished -------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//

#include "Checkpoint.h"
#include "ffn-mlir/Target/Descriptor.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir::ffn;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;
namespace json = llvm::json;

static Error cannot(StringRef verb, StringRef path, int code) {
  return driverError("cannot " + verb + " '" + path +
                     "': " + std::strerror(code) + " [FFN-O101]");
}

Error ChecksumSink::operator()(llvm::ArrayRef<char> bytes) {
  checksum = crc32c(bytes, checksum);
  return next(bytes);
}

/// CRC32C and size of an open file; none where it cannot be read.
static std::optional<std::pair<uint32_t, uint64_t>> checksumOf(int fd) {
  std::vector<char> block(1 << 20);
  uint32_t checksum = 0;
  uint64_t size = 0;
  while (true) {
    ssize_t n = ::pread(fd, block.data(), block.size(), size);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return std::nullopt;
    if (n == 0)
      return std::pair(checksum, size);
    checksum = crc32c({block.data(), static_cast<size_t>(n)}, checksum);
    size += n;
  }
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

StoredValue::StoredValue(StoredValue &&other) { *this = std::move(other); }

StoredValue &StoredValue::operator=(StoredValue &&other) {
  std::swap(held, other.held);
  std::swap(path, other.path);
  std::swap(fd, other.fd);
  std::swap(dtype, other.dtype);
  std::swap(shapes, other.shapes);
  std::swap(offsets, other.offsets);
  std::swap(size, other.size);
  std::swap(checksum, other.checksum);
  return *this;
}

StoredValue::~StoredValue() {
  if (fd >= 0)
    ::close(fd);
}

Error StoredValue::append(HostTensor tensor) {
  dtype = tensor.getDtype();
  shapes.emplace_back(tensor.getShape().begin(), tensor.getShape().end());
  offsets.push_back(size);
  size += tensor.getNumBytes();
  if (hasFile())
    return write(tensor);
  held.push_back(std::move(tensor));
  return Error::success();
}

Error StoredValue::writeFile(std::string name) {
  path = std::move(name);
  fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0)
    return cannot("write", path, errno);
  for (const HostTensor &tensor : held)
    if (Error error = write(tensor))
      return error;
  return Error::success();
}

Error StoredValue::write(const HostTensor &tensor) {
  llvm::ArrayRef<char> bytes(tensor.data(), tensor.getNumBytes());
  checksum = crc32c(bytes, checksum);
  if (std::error_code code = faultPoint("value.write"))
    return cannot("write", path, code.value());
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return cannot("write", path, errno);
    bytes = bytes.drop_front(n);
  }
  return Error::success();
}

Error StoredValue::sync() {
  std::error_code code = faultPoint("value.sync");
  if (code)
    return cannot("write", path, code.value());
  return ::fsync(fd) != 0 ? cannot("write", path, errno) : Error::success();
}

Expected<HostTensor *> StoredValue::read(size_t sample, HostTensor &storage) {
  if (sample < held.size())
    return &held[sample];
  if (sample >= shapes.size())
    return driverError("'" + path + "' holds no sample " + llvm::Twine(sample) +
                       " [FFN-J103]");
  if (Error error = storage.reset(dtype, shapes[sample]))
    return std::move(error);
  for (size_t done = 0; done < storage.getNumBytes();) {
    ssize_t n = ::pread(fd, storage.data() + done, storage.getNumBytes() - done,
                        offsets[sample] + done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return cannot("read", path, n ? errno : EIO);
    done += n;
  }
  return &storage;
}

json::Object StoredValue::toJSON() const {
  json::Array list;
  for (auto &shape : shapes) {
    json::Array dims;
    for (int64_t dim : shape)
      dims.push_back(dim);
    list.push_back(std::move(dims));
  }
  return json::Object{{"file", llvm::sys::path::filename(path)},
                      {"code", dtype.code},
                      {"bits", dtype.bits},
                      {"shapes", std::move(list)},
                      {"crc32c", static_cast<int64_t>(checksum)}};
}

std::optional<StoredValue> StoredValue::fromJSON(const json::Object &object,
                                                 const std::string &folder) {
  StoredValue value;
  std::optional<StringRef> file = object.getString("file");
  const json::Array *list = object.getArray("shapes");
  if (!file || !list || file->contains('/'))
    return std::nullopt;
  value.path = folder + "/" + file->str();
  value.dtype = {static_cast<uint8_t>(object.getInteger("code").value_or(0)),
                 static_cast<uint8_t>(object.getInteger("bits").value_or(0)),
                 1};
  for (const json::Value &entry : *list) {
    const json::Array *dims = entry.getAsArray();
    if (!dims)
      return std::nullopt;
    llvm::SmallVector<int64_t, 4> shape;
    uint64_t bytes = value.dtype.bits / 8;
    for (const json::Value &dim : *dims) {
      shape.push_back(dim.getAsInteger().value_or(-1));
      if (shape.back() < 0 ||
          __builtin_mul_overflow(bytes, static_cast<uint64_t>(shape.back()),
                                 &bytes))
        return std::nullopt;
    }
    value.shapes.push_back(std::move(shape));
    value.offsets.push_back(value.size);
    if (__builtin_add_overflow(value.size, bytes, &value.size))
      return std::nullopt;
  }
  value.fd = ::open(value.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (value.fd < 0)
    return std::nullopt;
  auto found = checksumOf(value.fd);
  if (!found || found->second != value.size ||
      found->first != object.getInteger("crc32c").value_or(-1))
    return std::nullopt;
  value.checksum = found->first;
  return value;
}

//===----------------------------------------------------------------------===//
// Checkpoint
//===----------------------------------------------------------------------===//

static std::string print(json::Value value) {
  std::string text;
  llvm::raw_string_ostream(text) << value;
  return text;
}

Error Checkpoint::damaged(const llvm::Twine &what) const {
  return driverError("'" + folder + "': " + what +
                     "; --restart begins anew [FFN-J103]");
}

Expected<std::unique_ptr<Checkpoint>>
Checkpoint::open(std::string folder, const json::Object &fingerprint,
                 bool restart) {
  if (std::error_code code = llvm::sys::fs::create_directory(folder))
    return cannot("write", folder, code.value());
  std::unique_ptr<Checkpoint> result(new Checkpoint);
  result->folder = folder;
  std::vector<std::string> lines;
  std::string path = result->getPath("journal");
  auto journal = Journal::open(path, lines);
  if (!journal)
    return journal.takeError();
  result->journal = std::move(*journal);
  if (restart && !lines.empty()) {
    lines.clear();
    if (::truncate(path.c_str(), 0) != 0)
      return cannot("write", path, errno);
    result->journal.reset();
    auto again = Journal::open(path, lines);
    if (!again)
      return again.takeError();
    result->journal = std::move(*again);
  }
  if (lines.empty()) {
    result->sweep();
    if (Error error = result->journal->append(print(json::Object(fingerprint))))
      return std::move(error);
    return std::move(result);
  }
  Expected<json::Value> first = json::parse(lines.front());
  const json::Object *known = first ? first->getAsObject() : nullptr;
  if (!known) {
    llvm::consumeError(first.takeError());
    return result->damaged("its journal does not begin with a fingerprint");
  }
  std::string different;
  for (auto &[key, value] : fingerprint) {
    const json::Value *before = known->get(key);
    if (!before || *before != value)
      different += (different.empty() ? "" : ", ") + key.str();
  }
  if (!different.empty())
    return driverError("'" + folder +
                       "' belongs to a run with other data; different: " +
                       different + "; --restart begins anew [FFN-J101]");
  if (Error error =
          result->replay(llvm::ArrayRef<std::string>(lines).drop_front()))
    return std::move(error);
  result->sweep();
  return std::move(result);
}

Error Checkpoint::replay(llvm::ArrayRef<std::string> lines) {
  std::map<unsigned, json::Object> live;
  for (const std::string &line : lines) {
    Expected<json::Value> parsed = json::parse(line);
    const json::Object *object = parsed ? parsed->getAsObject() : nullptr;
    const json::Object *made = object ? object->getObject("values") : nullptr;
    int64_t count = made ? object->getInteger("stages").value_or(0) : 0;
    if (count < 1 || count > UINT16_MAX) {
      llvm::consumeError(parsed.takeError());
      return damaged("a line of its journal is damaged");
    }
    Group group;
    group.stages = count;
    group.shard = object->getString("shard").value_or("").str();
    group.checksum = object->getInteger("crc32c").value_or(0);
    group.tokens = object->getInteger("tokens").value_or(0);
    groups.push_back(std::move(group));
    for (auto &[key, value] : *made) {
      unsigned number;
      if (StringRef(key).getAsInteger(10, number) || !value.getAsObject())
        return damaged("a line of its journal is damaged");
      live[number] = *value.getAsObject();
    }
  }
  for (auto &[number, object] : live) {
    std::optional<StoredValue> value = StoredValue::fromJSON(object, folder);
    // A value whose last reader has run may be gone.
    if (!value)
      continue;
    values.emplace(number, std::move(*value));
    journaled.insert(number);
  }
  return Error::success();
}

unsigned Checkpoint::getNumStages() const {
  unsigned count = 0;
  for (const Group &group : groups)
    count += group.stages;
  return count;
}

/// Takes away what no line of the journal names.
void Checkpoint::sweep() {
  llvm::StringSet<> known;
  known.insert("journal");
  for (const Group &group : groups)
    known.insert(group.shard);
  for (auto &[number, value] : values)
    known.insert(llvm::sys::path::filename(value.getPath()));
  std::error_code code;
  std::vector<std::string> rubbish;
  for (llvm::sys::fs::directory_iterator it(folder, code), end;
       it != end && !code; it.increment(code))
    if (!known.contains(llvm::sys::path::filename(it->path())))
      rubbish.push_back(it->path());
  for (const std::string &path : rubbish) {
    if (llvm::sys::fs::is_directory(path))
      llvm::sys::fs::remove_directories(path);
    else
      llvm::sys::fs::remove(path);
  }
}

Error Checkpoint::writeFile(unsigned number, StoredValue &value) {
  return value.writeFile(getPath("value" + llvm::Twine(number)));
}

Error Checkpoint::append(unsigned number, HostTensor tensor, uint64_t limit) {
  StoredValue &value = values[number];
  uint64_t bytes = tensor.getNumBytes();
  if (!value.hasFile() && heldBytes + bytes > limit) {
    if (Error error = writeFile(number, value))
      return error;
    heldBytes -= value.getHeldBytes();
    value.release();
  }
  if (!value.hasFile())
    heldBytes += bytes;
  return value.append(std::move(tensor));
}

Error Checkpoint::commit(Group group) {
  json::Object list;
  for (auto &[number, value] : values) {
    if (!journaled.insert(number).second)
      continue;
    if (!value.hasFile())
      if (Error error = writeFile(number, value))
        return error;
    if (Error error = value.sync())
      return error;
    list[std::to_string(number)] = value.toJSON();
  }
  json::Object line{{"stages", static_cast<int64_t>(group.stages)},
                    {"shard", group.shard},
                    {"crc32c", static_cast<int64_t>(group.checksum)},
                    {"tokens", static_cast<int64_t>(group.tokens)},
                    {"values", std::move(list)}};
  if (Error error = journal->append(print(std::move(line))))
    return error;
  groups.push_back(std::move(group));
  for (const std::string &path : unread)
    ::unlink(path.c_str());
  unread.clear();
  return Error::success();
}

StoredValue *Checkpoint::find(unsigned number) {
  auto found = values.find(number);
  return found == values.end() ? nullptr : &found->second;
}

void Checkpoint::drop(unsigned number) {
  auto found = values.find(number);
  if (found == values.end())
    return;
  StoredValue &value = found->second;
  heldBytes -= value.getHeldBytes();
  if (journaled.count(number))
    unread.push_back(value.getPath());
  else if (value.hasFile())
    ::unlink(value.getPath().c_str());
  values.erase(found);
}

Error Checkpoint::verifyShards() const {
  for (const Group &group : groups) {
    if (group.shard.empty())
      continue;
    int fd = ::open(getPath(group.shard).c_str(), O_RDONLY | O_CLOEXEC);
    auto found = fd < 0 ? std::nullopt : checksumOf(fd);
    if (fd >= 0)
      ::close(fd);
    if (!found || found->first != group.checksum)
      return damaged("its file '" + group.shard + "' is missing or damaged");
  }
  return Error::success();
}

void Checkpoint::remove() {
  values.clear();
  llvm::sys::fs::remove_directories(folder);
}
