"""What goes wrong, as Python sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnostic:
    """One message of the compiler: severity (error, warning, remark, note) and text."""

    severity: str
    text: str


class Error(Exception):
    """A diagnosed failure.

    ``code`` is the stable code of the first error, such as ``"FFN-I101"``, or
    ``None`` where the failure has none; ``diagnostics`` are all messages up to
    it.
    """

    code: str | None
    diagnostics: list[Diagnostic]

    def __init__(self, text: str, diagnostics: list[tuple[str, str]] | None = None):
        super().__init__(text)
        self.diagnostics = [Diagnostic(severity, message) for severity, message in diagnostics or [("error", text)]]
        found = re.search(r"\[(FFN-[A-Z]\d+)\]", text)
        self.code = found.group(1) if found else None


Error.__module__ = "ffn_mlir"
Diagnostic.__module__ = "ffn_mlir"
