"""ffn-mlir: smaller, faster transformers by rewriting their feed-forward networks.

    import ffn_mlir

    module = ffn_mlir.load_onnx("model.onnx")
    print(ffn_mlir.inspect(module)["totals"])
    ffn_mlir.compile(module, "model.so")
    model = ffn_mlir.load("model.so")
    print(model.inputs, model.run(tokens)["logits"])

Every failure is an :class:`Error` with a stable ``code`` and the compiler's
``diagnostics``.
"""

from __future__ import annotations

from ._compare import Difference, compare, interpret, random_inputs
from ._compile import compile  # noqa: A004
from ._errors import Diagnostic, Error
from ._model import Model, ModelInfo, Session, Value, load
from ._module import Module, PassManager, inspect, load_onnx, parse_module
from ._profile import Profile, profile
from ._search import Evaluator, SearchResult, Sublayer

__all__ = [
    "Diagnostic",
    "Difference",
    "Error",
    "Evaluator",
    "Model",
    "ModelInfo",
    "Module",
    "PassManager",
    "Profile",
    "SearchResult",
    "Session",
    "Sublayer",
    "Value",
    "compare",
    "compile",
    "inspect",
    "interpret",
    "load",
    "load_onnx",
    "parse_module",
    "profile",
    "random_inputs",
]
