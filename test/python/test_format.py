"""All C and C++ of the repository is as its .clang-format asks."""
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_sources_are_formatted():
    listed = subprocess.run(["git", "ls-files", "-z", "--", "*.c", "*.cpp", "*.h"], cwd=ROOT, check=True, capture_output=True, text=True)
    # A file that is deleted but not yet committed is still listed.
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert len(files) > 100
    result = subprocess.run(["clang-format-22", "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
