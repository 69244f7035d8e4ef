"""docs/reference/diagnostics.md and the sources know the same codes of model and output files."""
import re

import builds

PAGE = builds.ROOT / "docs" / "reference" / "diagnostics.md"


def test_every_code_is_documented():
    used = set()
    for folder in ("lib", "include", "tools"):
        for path in (builds.ROOT / folder).rglob("*"):
            if path.suffix in (".cpp", ".h"):
                used.update(re.findall(r'"([IO]\d{3})"|\[FFN-([IO]\d{3})W?\]', path.read_text()))
    used = {a or b for a, b in used}
    documented = set(re.findall(r"^\| ([IO]\d{3}) \|", PAGE.read_text(), re.M))
    assert used and used - documented == set(), "not documented"
    assert documented - used == set(), "documented, but not used"
