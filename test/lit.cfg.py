"""lit configuration: every .mlir test under test/, tools of one build."""
import os

import lit.formats

config.name = "ffn-mlir"
config.test_format = lit.formats.ShTest(False)
config.suffixes = [".mlir"]
config.excludes = ["Inputs", "Unit", "Tools", "python", "Numerics", "Conformance", "E2E", "Fuzz"]
config.test_source_root = os.path.join(config.ffn_source_dir, "test")
config.test_exec_root = os.path.join(config.ffn_binary_dir, "test")
config.environment["PATH"] = os.pathsep.join(
    [os.path.join(config.ffn_binary_dir, "bin"), config.llvm_tools_dir, os.environ["PATH"]]
)
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH", "TMPDIR"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
config.substitutions.append(("%python", os.path.join(config.ffn_source_dir, ".venv/bin/python")))
