"""Result pages are drawn from the figures beside them."""
import re
import subprocess
import sys

from conftest import ROOT

RESULTS = ROOT / "docs" / "results"


def test_depth_is_drawn_from_its_figures():
    subprocess.run([sys.executable, ROOT / "benchmarks" / "depth.py", "--check"], check=True)


def test_links_lead_somewhere():
    for page in RESULTS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
