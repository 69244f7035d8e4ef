"""The reference interpreter, and comparing two models on the same inputs."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, overload

from . import _ffn_mlir
from ._compile import compile
from ._errors import Error
from ._model import Model, Session, load
from ._module import Module, load_onnx

_DTYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "i1": "bool"}

#: What can be compared: a compiled model, a module, a file of either kind, or
#: a function from inputs by name to outputs by name.
Comparable = Union[Model, Session, Module, str, "os.PathLike[str]", Callable[[Mapping[str, Any]], Mapping[str, Any]]]


@dataclass(frozen=True)
class Difference:
    """How one output of two models differs.

    ``largest`` is max|a - b|, ``relative`` the same divided by max|b| (0 where
    both are empty, infinite where shapes differ or a value is NaN on one side
    only); ``equal`` says that all elements are equal.
    """

    name: str
    shape: tuple[int, ...]
    largest: float
    relative: float
    equal: bool


def interpret(module: Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Runs a module in the float64 reference interpreter; outputs by name.

    This is the meaning that compiled models are tested against, not a fast way
    to run them: seconds for a few tokens of a small model. ``inputs`` maps names
    to arrays of the declared shapes. Floating outputs are float64, integers
    int64 or uint64. Raises :class:`Error` ``FFN-E101`` for an operator without a
    meaning, ``E105`` for wrong inputs.
    """
    import numpy

    names = _ffn_mlir.argument_names(module._handle)
    for name in inputs:
        if name not in names:
            raise Error(f"input '{name}': the model has none of this name, but {', '.join(names) or 'none'} [FFN-E105]")
    for name in names:
        if name not in inputs:
            raise Error(f"input '{name}': missing [FFN-E105]")
    return _ffn_mlir.interpret(module._handle, [numpy.ascontiguousarray(inputs[name]) for name in names])


def random_inputs(
    model: Model | Module,
    *,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    limit: int = 100,
) -> dict[str, Any]:
    """Inputs by name that fit the signature of ``model``.

    ``sizes`` gives symbolic dimensions (default 3 each). Floats are normal with
    variance 1, integers lie in ``[0, limit)``, masks (by name) are 1.
    """
    import numpy

    random = numpy.random.default_rng(seed)
    feeds: dict[str, Any] = {}
    for name, dtype, dims in _signature(model):
        shape = [dim if isinstance(dim, int) else _size(dim, sizes or {}) for dim in dims]
        if "mask" in name.lower():
            feeds[name] = numpy.ones(shape, dtype)
        elif dtype == "bool":
            feeds[name] = random.integers(0, 2, shape) == 1
        elif "int" in dtype:
            feeds[name] = random.integers(0, limit, shape).astype(dtype)
        else:
            feeds[name] = random.standard_normal(shape).astype(dtype)
    return feeds


def _signature(model: Model | Module) -> list[tuple[str, str, tuple[int | str, ...]]]:
    if isinstance(model, Model):
        return [(value.name, value.dtype, value.shape) for value in model.inputs]
    found = json.loads(model._handle.inspect())["inputs"]
    dtype = lambda text: _DTYPES.get(text, text.replace("ui", "uint") if text.startswith("ui") else text.replace("i", "int"))
    return [(entry["name"], dtype(entry["dtype"]), tuple(entry["dims"])) for entry in found]


def _size(dim: str, sizes: Mapping[str, int]) -> int:
    if dim in sizes:
        return sizes[dim]
    terms = dim.split(" + ")
    if len(terms) == 1:
        return int(dim) if dim.isdigit() else 3
    return sum(_size(term, sizes) for term in terms)


def _runner(model: Comparable) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    if isinstance(model, (Model, Session)):
        return lambda feeds: model.run(dict(feeds))
    if isinstance(model, Module):
        return lambda feeds: interpret(model, feeds)
    if callable(model):
        return model
    raise Error(f"a {type(model).__name__} is no model [FFN-R400]")


def _open(model: Comparable) -> Comparable:
    if isinstance(model, (str, os.PathLike)):
        return load(model) if os.fspath(model).endswith(".so") else load_onnx(model)
    return model


#: What models are compared on: a file as ``ffnc eval`` takes it (text, token
#: lists in JSON, an archive of inputs), lists of token ids, or arrays by name.
Data = Union[str, "os.PathLike[str]", Sequence[Sequence[int]], Mapping[str, Any]]


@overload
def compare(
    a: Comparable,
    b: Comparable,
    inputs: Mapping[str, Any] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    limit: int = 100,
) -> list[Difference]: ...
@overload
def compare(
    a: Comparable,
    b: Comparable,
    *,
    data: Data,
    layers: bool = False,
    bisect: float | None = None,
    limits: Mapping[str, float] | None = None,
    floor: float = 0.01,
    bound: float = 0.01,
    threads: int = 0,
    **reading: Any,
) -> dict[str, Any]: ...
def compare(
    a: Comparable,
    b: Comparable,
    inputs: Mapping[str, Any] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    limit: int = 100,
    data: Data | None = None,
    layers: bool = False,
    bisect: float | None = None,
    limits: Mapping[str, float] | None = None,
    floor: float = 0.01,
    bound: float = 0.01,
    threads: int = 0,
    **reading: Any,
) -> list[Difference] | dict[str, Any]:
    """Runs two models on the same inputs.

    **On one set of inputs**, one :class:`Difference` for each output of ``b``.
    A model is a compiled one (:class:`Model`, or the path of a ``.so``), a
    :class:`Module` or the path of an ``.onnx`` or ``.mlir`` file, which the
    float64 interpreter evaluates, or any function from inputs by name to
    outputs by name. Without ``inputs`` they are random by :func:`random_inputs`
    (``sizes``, ``seed``, ``limit``).

    **On data**, the figures of ``ffnc compare --data --json`` as a dictionary:
    divergence of the logits (nats), same top-1, perplexity or accuracy of both
    with 95 % intervals over samples, distances of every output, with ``layers``
    of the hidden state behind every sublayer. Both models are compiled ones,
    modules or files; the latter are compiled first. ``limits`` maps figures
    (``"kl"``, ``"top1"``, ``"rel-l2"``, ``"layer-rel-l2"``, ...) to what they may
    be; the entries of ``"violations"`` name figure and place. With ``bisect``, a
    relative L2 distance, ``"first"`` is the first sublayer beyond it, from parts
    of both models alone; these are modules or files then. ``reading``:
    ``tokenizer``, ``bos``, ``window``, ``stride``, ``whole_file``,
    ``max_documents``, ``max_samples``, ``labels``, ``batch``, as the flags of
    ``ffnc compare``. ``threads`` 0: all CPUs.

    Raises :class:`Error` where one of them fails, or they do not fit the data
    or one another.
    """
    if data is not None:
        if inputs is not None or sizes is not None:
            raise Error("data takes the place of inputs and sizes [FFN-R400]")
        with tempfile.TemporaryDirectory(prefix="ffn-mlir-") as folder:
            options = _reading(data, pathlib.Path(folder), reading)
            if bisect is not None:
                if layers or limits:
                    raise Error("bisect stands alone: without layers and limits [FFN-R400]")
                modules = [_module(model) for model in (a, b)]
                return json.loads(_ffn_mlir.bisect(options, modules[0]._handle, modules[1]._handle, float(bisect), threads))
            paths = [_library(model, pathlib.Path(folder, f"{i}.so"), layers) for i, model in enumerate((a, b))]
            found = json.loads(_ffn_mlir.compare_on_data(options, *paths, threads, floor, bound, dict(limits or {})))
            if layers and not found["layers"]:
                raise Error("a compiled model shows no hidden states: give modules or model files, or compile with ffn-expose-hidden [FFN-R400]")
            return found
    if reading:
        raise TypeError(f"compare() got an unexpected keyword argument '{next(iter(reading))}'")
    return _differences(a, b, inputs, sizes, seed, limit)


def _reading(data: Data, folder: pathlib.Path, reading: Mapping[str, Any]) -> _ffn_mlir.EvalOptions:
    options = _ffn_mlir.EvalOptions()
    if isinstance(data, (str, os.PathLike)):
        options.data = os.fspath(data)
    elif isinstance(data, Mapping):
        import numpy

        options.data = str(folder / "data.npz")
        numpy.savez(options.data, **data)
    else:
        options.data = str(folder / "data.json")
        pathlib.Path(options.data).write_text(json.dumps([[int(token) for token in ids] for ids in data]))
    known = ("tokenizer", "bos", "window", "stride", "whole_file", "max_documents", "max_samples", "labels", "batch")
    for name, value in reading.items():
        if name not in known:
            raise TypeError(f"compare() got an unexpected keyword argument '{name}'")
        setattr(options, name, os.fspath(value) if name == "tokenizer" else value)
    return options


def _module(model: Comparable) -> Module:
    if isinstance(model, (str, os.PathLike)) and not os.fspath(model).endswith(".so"):
        return load_onnx(model)
    if isinstance(model, Module):
        return model
    raise Error("bisect runs models in parts: it needs modules, or .onnx or .mlir files [FFN-R400]")


def _library(model: Comparable, path: pathlib.Path, layers: bool) -> str:
    """The path of the compiled model; with ``layers`` one that returns hidden states, where it is compiled here."""
    if isinstance(model, Model):
        return model.path
    if isinstance(model, (str, os.PathLike)) and os.fspath(model).endswith(".so"):
        return os.fspath(model)
    if isinstance(model, (Module, str, os.PathLike)):
        passes = "ffn-raise,ffn-expose-hidden" if layers else "ffn-raise"
        return compile(model, path, pipeline=f"builtin.module({passes})")
    raise Error(f"a {type(model).__name__} cannot be compared on data: a model, a module or a file is needed [FFN-R400]")


def _differences(
    a: Comparable, b: Comparable, inputs: Mapping[str, Any] | None, sizes: Mapping[str, int] | None, seed: int, limit: int
) -> list[Difference]:
    import numpy

    a, b = _open(a), _open(b)
    if inputs is None:
        known = next((model for model in (a, b) if isinstance(model, (Model, Module))), None)
        if known is None:
            raise Error("inputs must be given where no model has a signature [FFN-R400]")
        inputs = random_inputs(known, sizes=sizes, seed=seed, limit=limit)
    left, right = _runner(a)(inputs), _runner(b)(inputs)
    found = []
    for name, want in right.items():
        if name not in left:
            raise Error(f"output '{name}': the first model has none of this name [FFN-R400]")
        x, y = numpy.asarray(left[name]), numpy.asarray(want)
        if x.shape != y.shape:
            found.append(Difference(name, y.shape, float("inf"), float("inf"), False))
            continue
        x, y = x.astype(numpy.float64), y.astype(numpy.float64)
        both = (x == y) | (numpy.isnan(x) & numpy.isnan(y))
        with numpy.errstate(invalid="ignore"):
            gap = numpy.where(both, 0.0, numpy.abs(x - y))
        gap = numpy.where(numpy.isnan(gap), numpy.inf, gap)
        largest = float(gap.max(initial=0.0))
        scale = float(numpy.abs(y[numpy.isfinite(y)]).max(initial=0.0))
        relative = 0.0 if largest == 0 else largest / scale if scale else float("inf")
        found.append(Difference(name, y.shape, largest, relative, bool(both.all())))
    return found


for _public in (Difference, interpret, random_inputs, compare):
    _public.__module__ = "ffn_mlir"
