"""What README.md shows is run as written, and its chart is of a real run."""
import json
import os
import pathlib
import re
import subprocess
import sys

from conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_python_example_runs_as_written(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    # The example names files by their place in the repository.
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "model.layers.7.mlp" in result.stdout and "Difference(name='logits'" in result.stdout


def test_links_lead_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs" / "guides").glob("*.md"), *(ROOT / "examples").glob("*/*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), (page.name, target)


def test_chart_is_drawn_from_the_run():
    subprocess.run([sys.executable, ROOT / "scripts" / "demo_chart.py", "--check"], check=True)
    found = json.loads((ROOT / "docs" / "assets" / "demo.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["original", "exact rewrites", "two sublayers removed"]
    assert len(found["removed"]) == 2 and all(name in found["rows"][2]["pipeline"] for name in found["removed"])
    assert found["rows"][1]["largest_logit_difference"] < 1e-4


def test_verbs_of_the_readme_exist():
    tool = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release")) / "bin" / "ffnc"
    shown = subprocess.run([tool, "--help"], capture_output=True, text=True).stdout
    for verb in re.findall(r"^ffnc (\w+)", README, re.M):
        assert re.search(rf"^  {verb} ", shown, re.M), verb
