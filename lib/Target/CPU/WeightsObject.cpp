//===- WeightsObject.cpp - Weights as an ELF object -----------------------===//
//
// Part of ffn-mlir, under the Apache License v2.0.
//
//===----------------------------------------------------------------------===//
//
// Written by hand because an assembler would hold the section in memory.
//
//===----------------------------------------------------------------------===//

#include "ffn-mlir/Target/CPU/Codegen.h"
#include "llvm/Support/MathExtras.h"
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

using namespace mlir;
using namespace mlir::ffn;

/// SHF_X86_64_LARGE, which the system's header lacks.
static constexpr uint64_t kLargeSection = 0x10000000;
static constexpr uint64_t kPage = 4096;

WeightsObject::WeightsObject(StringRef path, uint64_t size) : size(size) {
  fd = ::open(path.str().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
              0600);
  if (fd < 0) {
    error = std::strerror(errno);
    return;
  }
  // Header, padding to a page, weights, then tables.
  uint64_t tables = llvm::alignTo(kPage + size, 8);
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_REL;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 6;
  header.e_shstrndx = 4;
  header.e_shoff = tables;
  char page[kPage] = {};
  std::memcpy(page, &header, sizeof header);
  (void)put(page, sizeof page);
}

WeightsObject::~WeightsObject() {
  if (fd >= 0)
    ::close(fd);
}

LogicalResult WeightsObject::put(const void *data, size_t count) {
  const char *p = static_cast<const char *>(data);
  while (count) {
    ssize_t n = ::write(fd, p, count);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      error = std::strerror(n < 0 ? errno : ENOSPC);
      return failure();
    }
    p += n;
    count -= n;
  }
  return success();
}

LogicalResult WeightsObject::write(ArrayRef<char> bytes) {
  written += bytes.size();
  return error.empty() ? put(bytes.data(), bytes.size())
                       : LogicalResult(failure());
}

LogicalResult WeightsObject::finish() {
  if (!error.empty())
    return failure();
  if (written != size) {
    error = "the packer wrote another number of bytes than it said";
    return failure();
  }
  static constexpr char kNames[] =
      "\0.lrodata.ffn_weights\0.symtab\0.strtab\0.shstrtab\0.note.GNU-stack";
  static constexpr char kStrings[] = "\0ffn_model_weights";
  auto nameOf = [&](StringRef name) {
    return static_cast<Elf64_Word>(
        StringRef(kNames, sizeof kNames).find((name + "\0").str()));
  };
  uint64_t tables = llvm::alignTo(kPage + size, 8);
  Elf64_Shdr sections[6] = {};
  uint64_t symbols = tables + sizeof sections;
  // A large section: small code elsewhere does not have to reach across it.
  sections[1].sh_name = nameOf(".lrodata.ffn_weights");
  sections[1].sh_type = SHT_PROGBITS;
  sections[1].sh_flags = SHF_ALLOC | kLargeSection;
  sections[1].sh_offset = kPage;
  sections[1].sh_size = size;
  sections[1].sh_addralign = kPage;
  Elf64_Sym entries[2] = {};
  entries[1].st_name = 1;
  entries[1].st_info = (STB_GLOBAL << 4) | STT_OBJECT;
  entries[1].st_other = STV_HIDDEN;
  entries[1].st_shndx = 1;
  entries[1].st_size = size;
  sections[2].sh_name = nameOf(".symtab");
  sections[2].sh_type = SHT_SYMTAB;
  sections[2].sh_offset = symbols;
  sections[2].sh_size = sizeof entries;
  sections[2].sh_link = 3;
  sections[2].sh_info = 1;
  sections[2].sh_addralign = 8;
  sections[2].sh_entsize = sizeof(Elf64_Sym);
  sections[3].sh_name = nameOf(".strtab");
  sections[3].sh_type = SHT_STRTAB;
  sections[3].sh_offset = symbols + sizeof entries;
  sections[3].sh_size = sizeof kStrings;
  sections[3].sh_addralign = 1;
  sections[4].sh_name = nameOf(".shstrtab");
  sections[4].sh_type = SHT_STRTAB;
  sections[4].sh_offset = sections[3].sh_offset + sizeof kStrings;
  sections[4].sh_size = sizeof kNames;
  sections[4].sh_addralign = 1;
  sections[5].sh_name = nameOf(".note.GNU-stack");
  sections[5].sh_type = SHT_PROGBITS;
  sections[5].sh_offset = sections[4].sh_offset + sizeof kNames;
  sections[5].sh_addralign = 1;
  char zeros[8] = {};
  if (failed(put(zeros, tables - kPage - size)) ||
      failed(put(sections, sizeof sections)) ||
      failed(put(entries, sizeof entries)) ||
      failed(put(kStrings, sizeof kStrings)) ||
      failed(put(kNames, sizeof kNames)))
    return failure();
  int result = ::close(fd);
  fd = -1;
  if (result != 0) {
    error = std::strerror(errno);
    return failure();
  }
  return success();
}
