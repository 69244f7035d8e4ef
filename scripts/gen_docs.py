#!/usr/bin/env python3
"""Writes docs/reference/ from TableGen; --check compares instead and exits 1."""
import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = ROOT / "include"
TBLGEN = "/usr/lib/llvm-22/bin/mlir-tblgen"
MLIR_INCLUDE = "/usr/lib/llvm-22/include"

PAGES = {
    "onnx-dialect.md": ("-gen-dialect-doc", "-dialect=onnx", "ffn-mlir/Dialect/ONNX/IR/ONNX.td"),
    "ffn-dialect.md": ("-gen-dialect-doc", "-dialect=ffn", "ffn-mlir/Dialect/FFN/IR/FFNAll.td"),
    "ffn-interfaces.md": ("-gen-op-interface-docs", None, "ffn-mlir/Dialect/FFN/IR/FFNInterfaces.td"),
}


def pages():
    """(file name, text) of every reference page."""
    for name, (generator, option, source) in PAGES.items():
        yield name, tablegen(generator, option, INCLUDE / source)
    for source in sorted(INCLUDE.glob("ffn-mlir/**/Passes.td")):
        parts = [part.lower() for part in source.relative_to(INCLUDE / "ffn-mlir").parts[:-1] if part not in ("Dialect", "Transforms")]
        yield f"{'-'.join(parts)}-passes.md", tablegen("-gen-pass-doc", None, source)


def tablegen(generator, option, source):
    command = [TBLGEN, generator, f"-I{INCLUDE}", f"-I{MLIR_INCLUDE}", str(source)]
    if option:
        command.append(option)
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with what is checked in")
    arguments = parser.parse_args()
    folder = ROOT / "docs" / "reference"
    stale, wanted = [], set()
    for name, text in pages():
        path = folder / name
        wanted.add(name)
        if arguments.check:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    generated = {path.name for path in folder.glob("*-dialect.md")} | {path.name for path in folder.glob("*-passes.md")}
    stale += sorted(generated - wanted)
    if arguments.check and stale:
        print("stale reference pages: " + ", ".join(stale) + "; run scripts/gen_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
