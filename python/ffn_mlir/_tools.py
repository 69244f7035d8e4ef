"""The command line tools of an installed wheel."""

from __future__ import annotations

import os
import pathlib
import sys


def _run(name: str) -> None:
    tool = pathlib.Path(__file__).parent / "_bin" / name
    os.execv(tool, [str(tool), *sys.argv[1:]])


def ffnc() -> None:
    """Runs ffnc."""
    _run("ffnc")


def ffn_opt() -> None:
    """Runs ffn-opt."""
    _run("ffn-opt")


def ffn_translate() -> None:
    """Runs ffn-translate."""
    _run("ffn-translate")
