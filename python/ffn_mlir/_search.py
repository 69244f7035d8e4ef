"""Models without some of their sublayers: measuring them, searching among them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _ffn_mlir
from ._errors import Error
from ._model import _check_threads
from ._module import Module, PassManager, load_onnx


@dataclass(frozen=True)
class Sublayer:
    """A residual sublayer of a model.

    ``names`` and ``kinds`` are those of its addends (one, unless sublayers were
    merged). ``block`` counts from 0 and grows where a kind comes again.
    ``fixed`` says why it cannot be left out; empty where it can.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    block: int
    fixed: str


@dataclass(frozen=True)
class SearchResult:
    """What a search chose.

    ``order`` has the names of the sublayers to leave out, in that order;
    ``scores`` a number for each (NaN where the method gives none). ``distance``
    is the metric of the model without all of them, ``evaluations`` the number
    of runs of a sample that the search took, parts counted as whole.
    """

    order: tuple[str, ...]
    scores: tuple[float, ...]
    distance: float
    evaluations: int


class Evaluator:
    """A model, compiled once, that runs without any of its sublayers.

    Leaving a sublayer out is a branch at run time: the logits have the bits of
    the model from which ``ffn-prune-sublayers`` removed it. A run restarts from
    the last value that it shares with the original model.

    ``model`` is a file, or a module on which ``ffn-raise`` has run and which
    stays as it is. ``samples``: a mapping from input name to array for each
    sample; arrays are copied and floats converted. ``targets``: for the metrics
    ``"nll"`` and ``"error"``, the class of each row of the logits of each
    sample, -1 for rows that do not count; None: the next tokens, where the
    model is a language model. ``threads``: runs at the same time (0: as many as
    the CPUs that this process may use); figures do not depend on it.

    The GIL is released while the model runs. One call at a time. Raises
    :class:`Error` (``FFN-P110``: no sublayers, ``P111``: arguments, ``C...``:
    the model cannot be compiled).
    """

    def __init__(
        self,
        model: Module | str | os.PathLike[str],
        samples: Iterable[Mapping[str, Any]],
        *,
        targets: Sequence[Sequence[int]] | None = None,
        cpu: str = "native",
        threads: int = 0,
    ):
        if not isinstance(model, Module):
            model = load_onnx(model)
            PassManager.parse("builtin.module(ffn-raise)").run(model)
        names = _ffn_mlir.argument_names(model._handle)
        rows = []
        for i, sample in enumerate(samples):
            for name in names:
                if name not in sample:
                    raise Error(f"sample {i}: input '{name}' is missing [FFN-R400]")
            rows.append([sample[name] for name in names])
        self._handle = _ffn_mlir.Search(model._handle, rows, cpu, _check_threads(threads))
        if targets is not None:
            self._handle.set_targets([[int(x) for x in row] for row in targets])
        self._sublayers = tuple(Sublayer(*entry) for entry in self._handle.sublayers())
        self._index = {name: i for i, sublayer in enumerate(self._sublayers) for name in sublayer.names}

    @property
    def sublayers(self) -> tuple[Sublayer, ...]:
        """The residual sublayers, in program order."""
        return self._sublayers

    def _mask(self, names: Iterable[str]) -> list[int]:
        names = list(names)
        for name in names:
            if name not in self._index:
                raise Error(f"no sublayer is named {name!r}, known: {', '.join(self._index)} [FFN-P102]")
        return sorted({self._index[name] for name in names})

    def measure(self, without: Iterable[Iterable[str]], metric: str = "js") -> list[float]:
        """A figure over all samples for each set of sublayers that are left out.

        Metrics of the distance from the original logits p of those without, q:
        ``"js"``, ``"js-reverse"``, ``"kl"`` (of p and q, nats, mean over rows;
        js-reverse over elements), ``"angular"`` (radians, mean over rows),
        ``"norm"`` (of the difference of a sequence, mean over sequences). Of
        the logits and the targets: ``"nll"`` (nats, mean over rows), ``"error"``
        (share of the rows whose greatest logit is another class). Less is
        better; infinite where the logits are no numbers.
        """
        return self._handle.measure([self._mask(names) for names in without], metric)

    def run(self, sample: int, without: Iterable[str] = (), *, restart: bool = True) -> Any:
        """The logits of one sample without some sublayers, as a NumPy array.

        ``restart=False`` runs everything again; the bits are the same.
        """
        return self._handle.run(sample, self._mask(without), restart)

    def search(
        self,
        method: str = "finercut",
        *,
        count: int,
        metric: str | None = None,
        kinds: Sequence[str] = (),
        protect: float = 0.4,
        whole_blocks: bool = False,
        seed: int = 0,
        evaluations: int = 0,
    ) -> SearchResult:
        """Chooses ``count`` sublayers to leave out, as ``ffn-prune-sublayers`` does.

        The options are those of the pass. Raises :class:`Error` ``FFN-P111``
        (options) or ``P112`` (fewer candidates than ``count``).
        """
        if metric is None:
            metric = "kl" if method == "evopress" else "js"
        if method == "2ssp" and not kinds:
            kinds = ("attention",)
        steps, distance, evaluations = self._handle.search(
            method, metric, count, list(kinds), protect, whole_blocks, seed, evaluations
        )
        return SearchResult(
            tuple(self._sublayers[i].names[0] for i, _ in steps),
            tuple(score for _, score in steps),
            distance,
            evaluations,
        )


for _public in (Sublayer, SearchResult, Evaluator):
    _public.__module__ = "ffn_mlir"
