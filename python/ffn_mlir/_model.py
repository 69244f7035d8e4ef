"""Compiled models: loading and running them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _ffn_mlir
from ._errors import Error


@dataclass(frozen=True)
class Value:
    """One input or output of a compiled model.

    ``dtype`` is NumPy's name of the element type (``"float32"``, ``"int64"``,
    ``"bool"``, ``"bfloat16"``). ``shape`` holds a number where the size is
    fixed, and otherwise what it is in terms of the inputs, such as ``"batch"``
    or ``"past_sequence + sequence"``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class ModelInfo:
    """What a compiled model says of itself.

    ``level`` is the instruction set level of its code, ``features`` the CPU
    features that it needs, ``numerics`` what its results promise (for people),
    ``weight_bytes`` the size of its weights in bytes.
    """

    producer: str
    level: str
    features: tuple[str, ...]
    numerics: str
    weight_bytes: int



def _by_name(kind: str, values: Sequence[Value], given: Mapping[str, Any]) -> list[Any]:
    names = [value.name for value in values]
    for name in given:
        if name not in names:
            raise Error(f"{kind} '{name}': the model has none of this name, but {', '.join(names) or 'none'} [FFN-R400]")
    return [given.get(name) for name in names]


class _Runnable:
    """Shared by models and sessions: arguments by name or position."""

    _inputs: tuple[Value, ...]
    _outputs: tuple[Value, ...]
    _handle: Any

    def run(
        self,
        *args: Any,
        out: Mapping[str, Any] | Sequence[Any] | None = None,
        **named: Any,
    ) -> dict[str, Any]:
        """Runs the model once; returns its outputs by name, in the model's order.

        Inputs are given by position, by keyword, or as one mapping from name to
        tensor (for names that are no Python names)::

            model.run(ids)
            model.run(input_ids=ids)
            model.run({"input_ids": ids, "past_key_values.0.key": past})

        A tensor is anything with ``__dlpack__`` or the buffer protocol that
        lies in host memory: NumPy arrays, CPU tensors of PyTorch and JAX. It
        must have the dtype and shape of the signature (no conversion takes
        place), be row-major contiguous and aligned to its element. Inputs are
        read where they lie, never copied and never written.

        ``out`` names memory for outputs: a mapping from output name to a
        writable tensor, or a sequence with a tensor or None for each output.
        It must have exactly the shape of the output and overlap no input; the
        result holds the same object. Other outputs are new NumPy arrays.

        The GIL is released while the model runs. Raises :class:`Error` with the
        code ``FFN-R400`` (names, counts), ``R401`` (dtype), ``R402`` (rank),
        ``R403`` (shape), ``R404`` (size), ``R405`` (device), ``R406`` (layout,
        alignment, read-only), ``R407`` (overlap), ``R501`` (memory).
        """
        inputs = self._take_inputs(args, named)
        if out is None:
            outputs: list[Any] = [None] * len(self._outputs)
        elif isinstance(out, Mapping):
            outputs = _by_name("output", self._outputs, out)
        else:
            outputs = list(out)
        results = self._handle.run(inputs, outputs)
        return {value.name: result for value, result in zip(self._outputs, results)}

    def _take_inputs(self, args: tuple[Any, ...], named: Mapping[str, Any]) -> list[Any]:
        if len(args) == 1 and isinstance(args[0], Mapping):
            if named:
                raise Error("inputs are given as a mapping or as keywords, not as both [FFN-R400]")
            args, named = (), args[0]
        if len(args) > len(self._inputs):
            raise Error(f"{len(args)} inputs given, the model has {len(self._inputs)} [FFN-R400]")
        inputs = _by_name("input", self._inputs, named)
        for i, argument in enumerate(args):
            if self._inputs[i].name in named:
                raise Error(f"input '{self._inputs[i].name}': given by position and by name [FFN-R400]")
            inputs[i] = argument
        for value, given in zip(self._inputs, inputs):
            if given is None:
                raise Error(f"input '{value.name}': missing [FFN-R400]")
        return inputs


class Session(_Runnable):
    """Scratch memory and a thread count of its own for runs of a model.

    Made by :meth:`Model.session`. A session serves one call at a time; calls
    from several threads wait for each other.
    """

    def __init__(self, handle: _ffn_mlir.Session, inputs: tuple[Value, ...], outputs: tuple[Value, ...]):
        self._handle = handle
        self._inputs = inputs
        self._outputs = outputs

    @property
    def memory(self) -> int:
        """Bytes of scratch memory that the session holds."""
        return self._handle.memory()


class Model(_Runnable):
    """A compiled model, made by :func:`load`.

    May be used from several threads: calls of :meth:`run` that overlap run in
    parallel, on a session each.
    """

    def __init__(self, handle: _ffn_mlir.Model, path: str):
        self._handle = handle
        self._inputs = tuple(Value(*entry) for entry in handle.values(False))
        self._outputs = tuple(Value(*entry) for entry in handle.values(True))
        self._path = path

    @property
    def path(self) -> str:
        """The file that was loaded."""
        return self._path

    @property
    def inputs(self) -> tuple[Value, ...]:
        """Name, dtype and shape of every input."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """Name, dtype and shape of every output."""
        return self._outputs

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        found = self._handle.info()
        found["features"] = tuple(name for name in found["features"].split(",") if name)
        return ModelInfo(**found)

    def session(self, threads: int = 0) -> Session:
        """A session with ``threads`` threads (1 to 256, the caller's included).

        0: as many as the CPUs that this process may use. Raises :class:`Error`
        ``FFN-R400`` for another number.
        """
        return Session(self._handle.session(_check_threads(threads)), self._inputs, self._outputs)

    def __repr__(self) -> str:
        names = lambda values: ", ".join(value.name for value in values)
        return f"<ffn_mlir.Model {self._path!r}: ({names(self._inputs)}) -> ({names(self._outputs)})>"


def _check_threads(threads: int) -> int:
    if not 0 <= threads <= 256:
        raise Error(f"threads must be 0 to 256, is {threads} [FFN-R400]")
    return threads


def load(path: str | os.PathLike[str], *, threads: int = 0) -> Model:
    """Loads a model that :func:`compile` or ``ffnc compile`` wrote.

    ``threads`` is the number of threads of a run (1 to 256, the caller's
    included; 0: as many as the CPUs that this process may use). A file that was
    compiled again under the same name gives the new code; models loaded before
    keep the old one.

    Loading runs code of the library: load only what you trust. Raises
    :class:`Error` ``FFN-R101`` (no shared library), ``R102`` (no compiled
    model, or one for another version), ``R201`` (its weights file is missing or
    damaged), ``R301`` (this CPU lacks a feature that it needs).
    """
    return Model(_ffn_mlir.Model(os.fspath(path), _check_threads(threads)), os.fspath(path))


for _public in (Value, ModelInfo, Session, Model):
    _public.__module__ = "ffn_mlir"
load.__module__ = "ffn_mlir"
