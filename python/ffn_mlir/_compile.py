"""Native code."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from . import _ffn_mlir
from ._errors import Error
from ._module import Module, PassManager, load_onnx

_EMIT = ("so", "exe", "obj", "llvm", "linalg")


def compile(
    model: Module | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    pipeline: str | PassManager | None = "builtin.module(ffn-raise)",
    emit: str = "so",
    cpu: str = "native",
    opt_level: int = 3,
    kernels: bool = True,
    max_embedded_weights: int = 1 << 30,
    progress: Callable[[str], None] | None = None,
) -> str:
    """Compiles a model to native code; returns ``out``, for :func:`load`.

    ``model`` is a file (``.onnx``, ``.mlir``, ``.mlirbc``) or a module, which
    stays as it is. ``pipeline`` is run on it before (None: nothing is).

    ``emit``: ``"so"``, the model as a shared library; ``"exe"``, a program that
    takes .npy files; ``"obj"``, ``"llvm"``, ``"linalg"``, intermediate forms.
    ``cpu``: ``"native"`` (this machine), ``"avx2"`` or ``"avx512"``.
    ``opt_level``: 0 to 3, of LLVM. ``kernels``: False lowers every operation as
    plain loops. Weights of more than ``max_embedded_weights`` bytes lie in
    ``<out>.weights`` beside the library. ``progress`` is called with a line of
    text at the beginning of each stage and at the end.

    The GIL is released; compiles of several threads take turns. The file
    appears under its name only when it is complete, and two compiles of a model
    give the same bytes. Raises :class:`Error` with a code (``FFN-C...`` where
    the model has an operator, dtype or shape without native code, named with
    its node); no file is left behind then.
    """
    if emit not in _EMIT:
        raise Error(f"emit: expected {', '.join(_EMIT)}, not {emit!r} [FFN-R400]")
    if opt_level not in range(4):
        raise Error(f"opt_level: expected 0 to 3, not {opt_level!r} [FFN-R400]")
    say = progress or (lambda text: None)
    begin = time.monotonic()
    path = os.fspath(out)
    passes = PassManager.parse(pipeline) if isinstance(pipeline, str) else pipeline
    if isinstance(model, Module):
        module = model
    else:
        say(f"reading {os.fspath(model)}")
        module = load_onnx(model)
    if passes is not None:
        say(f"running {passes}")
        if module is model:
            module = Module(module._handle.clone())
        passes.run(module)
    say("generating native code")
    _ffn_mlir.compile(module._handle, path, emit, cpu, opt_level, kernels, max_embedded_weights)
    say(f"{path}: {os.path.getsize(path):,} bytes after {time.monotonic() - begin:.1f} s")
    return path


compile.__module__ = "ffn_mlir"
