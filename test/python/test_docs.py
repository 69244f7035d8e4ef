"""The reference pages are what TableGen says now."""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_reference_pages_are_current():
    result = subprocess.run([sys.executable, ROOT / "scripts" / "gen_docs.py", "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
