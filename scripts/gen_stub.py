#!/usr/bin/env python3
"""Writes python/ffn_mlir/_ffn_mlir.pyi from the built extension; --check compares instead.

    gen_stub.py [--check] [BUILD]      BUILD: folder of a build, default build/release
"""
import argparse
import importlib
import pathlib
import sys

from nanobind.stubgen import StubGen

ROOT = pathlib.Path(__file__).resolve().parent.parent
STUB = ROOT / "python" / "ffn_mlir" / "_ffn_mlir.pyi"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with what is checked in")
    parser.add_argument("build", nargs="?", default=ROOT / "build" / "release", type=pathlib.Path)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.build / "python"))
    module = importlib.import_module("ffn_mlir._ffn_mlir")
    generator = StubGen(module, include_private=True)
    generator.put(module)
    text = generator.get()
    if not arguments.check:
        STUB.write_text(text)
        return 0
    if not STUB.exists() or STUB.read_text() != text:
        print(f"stale {STUB.relative_to(ROOT)}; run scripts/gen_stub.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
