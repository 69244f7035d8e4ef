"""Modules: reading, rewriting, inspecting and writing them."""

from __future__ import annotations

import json
import os
from typing import Any

from . import _ffn_mlir
from ._errors import Diagnostic


class Module:
    """A model in the compiler's IR. ``str(module)`` is its text."""

    def __init__(self, handle: _ffn_mlir.Module):
        self._handle = handle

    def __str__(self) -> str:
        return str(self._handle)

    def export_onnx(self, path: str | os.PathLike[str], *, external_data: bool = False) -> None:
        """Writes the model as ONNX; weights beside it on request or above 1.5 GB.

        The ops of the ffn dialect must have been decomposed and weights
        materialized (``ffn-decompose,ffn-materialize-weights``). Raises
        :class:`Error`; no file is left behind then.
        """
        self._handle.export_onnx(os.fspath(path), external_data)


class PassManager:
    """A pass pipeline, text-compatible with ``ffn-opt --pass-pipeline`` both ways."""

    def __init__(self, text: str):
        self._text = text

    @classmethod
    def parse(cls, text: str) -> PassManager:
        """Parses a pipeline such as ``builtin.module(ffn-raise)``.

        Raises :class:`Error` with a caret under ``text`` where it is wrong.
        """
        return cls(_ffn_mlir.check_pipeline(text))

    def run(self, module: Module) -> list[Diagnostic]:
        """Runs the passes on ``module`` in place; returns their remarks and warnings.

        Raises :class:`Error` when a pass fails; the module is then half rewritten
        and must not be used.
        """
        return [Diagnostic(*entry) for entry in module._handle.run(self._text)]

    def __str__(self) -> str:
        return self._text


def load_onnx(
    path: str | os.PathLike[str],
    *,
    strict: bool = False,
    allow_symlinks: bool = False,
    allow_hardlinks: bool = False,
) -> Module:
    """Reads ``model.onnx`` (or ``.mlir``, ``.mlirbc``); no weight byte is read yet.

    ``strict`` refuses the exporters' habits that are otherwise accepted with a
    warning. Raises :class:`Error` with a code ``FFN-I...`` for a bad file.
    """
    return Module(_ffn_mlir.load(os.fspath(path), strict, allow_symlinks, allow_hardlinks))


def parse_module(text: str) -> Module:
    """A module from its text, whose nodes pass the checks of the importer. Raises :class:`Error`."""
    return Module(_ffn_mlir.parse(text))


def inspect(model: Module | str | os.PathLike[str]) -> dict[str, Any]:
    """What a model is made of.

    Keys: ``inputs``, ``outputs`` (name, dtype, dims), ``sublayers`` (name, kind,
    parameters, bytes, flops_per_token, and ``ffn`` with form, activation, d, m,
    bias), ``totals``, ``near_misses``. The module is not changed.
    """
    module = model if isinstance(model, Module) else load_onnx(model)
    return json.loads(module._handle.inspect())


for _public in (Module, PassManager, load_onnx, parse_module, inspect):
    _public.__module__ = "ffn_mlir"
