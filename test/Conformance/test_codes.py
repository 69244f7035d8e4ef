"""docs/reference/diagnostics.md and the sources know the same codes."""
import re

import builds

PAGE = builds.ROOT / "docs" / "reference" / "diagnostics.md"


def find_used():
    used = set()
    for folder in ("lib", "include", "tools", "runtime"):
        for path in (builds.ROOT / folder).rglob("*"):
            if path.suffix in (".cpp", ".h"):
                for alone, inside in re.findall(r'"([A-Z]\d{3})"|FFN-([A-Z]\d{3})', path.read_text()):
                    used.add(alone or inside)
    return used


def find_documented():
    documented = set()
    for cell in re.findall(r"^\| ([A-Z]\d{3}[^|]*) \|", PAGE.read_text(), re.M):
        codes = re.findall(r"[A-Z]\d{3}", cell)
        if " to " in cell:
            first, last = codes
            assert first[0] == last[0]
            codes = [f"{first[0]}{number:03}" for number in range(int(first[1:]), int(last[1:]) + 1)]
        documented.update(codes)
    return documented


def test_every_code_is_documented():
    used, documented = find_used(), find_documented()
    assert used and used - documented == set(), "not documented"
    assert {code for code in documented - used if code[0] in "IO"} == set(), "documented, but not used"
