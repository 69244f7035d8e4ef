"""Profiles: what the layers of a model do on calibration data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Union

from . import _ffn_mlir
from ._errors import Error
from ._module import Module, load_onnx

#: A file or folder of samples, or samples as dicts of arrays by input name.
CalibrationData = Union[str, "os.PathLike[str]", Iterable[Mapping[str, Any]]]


class Profile:
    """A profile that is open: its tensors by name, ``"layer/site/statistic"``.

    ::

        profile = ffn_mlir.Profile("p.safetensors")
        for name in profile:
            print(name, profile[name].shape)
        profile["model.layers.0.mlp/ffn.hidden/mean"]

    Raises :class:`Error` ``FFN-D103`` (no safetensors file, or a damaged one)
    or ``FFN-D104`` (no profile).
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._handle = _ffn_mlir.Profile(os.fspath(path))
        #: What was measured on what: model_sha256, samples, tokens, seed,
        #: calibration, request, prefix, layers.
        self.header: dict[str, Any] = json.loads(self._handle.header())

    def __getitem__(self, name: str) -> Any:
        """The tensor as a NumPy array. Raises :class:`Error` ``FFN-D105``."""
        return self._handle.array(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._handle.names())

    def __contains__(self, name: str) -> bool:
        return name in self._handle.names()

    def check(self, model: Module | str | os.PathLike[str]) -> None:
        """Raises :class:`Error` ``FFN-D106`` if it was made of another model."""
        module = model if isinstance(model, Module) else load_onnx(model)
        self._handle.check_model(module._handle)


def profile(
    model: Module | str | os.PathLike[str],
    calibration: CalibrationData,
    out: str | os.PathLike[str],
    *,
    passes: str | Sequence[str] = (),
    probes: str | Sequence[str] = (),
    tokenizer: str | os.PathLike[str] | None = None,
    samples: int = 10,
    length: int = 256,
    seed: int = 0,
    holdout: int = 0,
    evaluation: str | os.PathLike[str] | None = None,
    rewrite: str | None = None,
    max_memory: int = 0,
    threads: int = 0,
    cpu: str = "native",
    opt_level: int = 3,
    restart: bool = False,
    progress: Callable[[int, int, str, float], None] | None = None,
) -> dict[str, Any]:
    """Runs calibration data through a model and writes what its layers do with them.

    ``calibration`` is a file or folder as ``ffnc profile --calib`` takes it, or
    any iterable of dicts from input name to array (each one a sample, in the
    shape that the model takes; all are used, and ``samples``, ``length``,
    ``seed`` and ``holdout`` play no part).

    ``passes``: measure what these passes read (``"ffn-carve-moe{topk=10}"``).
    ``probes``: measure these (``"moments,gram"``). Neither: moments, hidden,
    influence. ``evaluation``: data that results will be measured on, refused
    (``FFN-D211``) where a calibration sample is among them. ``rewrite``: a
    pipeline that rewrites each layer after it was measured; later ones are
    measured behind it. ``max_memory``: bytes that the process may hold, its own
    included; ``FFN-M101`` where that cannot be kept. ``opt_level``: 0 to 3, of
    LLVM; less is compiled faster and runs slower. ``progress`` is called with
    stages done, stages in all, the layer, and seconds left.

    What is finished lies in ``<out>.parts`` and is used again by the next call,
    unless ``restart``; Ctrl-C loses at most the stage that runs. The GIL is
    released. Returns counts, seconds and peak memory; raises :class:`Error`.
    """
    module = model if isinstance(model, Module) else load_onnx(model)
    given: list[Any] | None = None
    data = ""
    if isinstance(calibration, (str, os.PathLike)):
        data = os.fspath(calibration)
    else:
        given = [dict(sample) for sample in calibration]
    for name, value, least in (("samples", samples, 1), ("length", length, 1), ("holdout", holdout, 0),
                               ("seed", seed, 0), ("max_memory", max_memory, 0)):
        if value < least:
            raise Error(f"{name} must be {least} or more, is {value} [FFN-R400]")
    if not 0 <= threads <= 256:
        raise Error(f"threads must be 0 to 256, is {threads} [FFN-R400]")
    if not 0 <= opt_level <= 3:
        raise Error(f"opt_level must be 0 to 3, is {opt_level} [FFN-R400]")
    text = _ffn_mlir.profile(
        module._handle, given, data, os.fspath(tokenizer or ""), os.fspath(evaluation or ""), os.fspath(out),
        probes if isinstance(probes, str) else ",".join(probes), [passes] if isinstance(passes, str) else list(passes),
        rewrite or "", cpu, samples, length, holdout, threads, seed, max_memory, restart, opt_level, progress)
    return json.loads(text)


for _public in (Profile, profile):
    _public.__module__ = "ffn_mlir"
