"""The split of the corpus and the rules of evaluate.py of examples/pycode-lm."""
import pathlib
import sys

import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "pycode-lm"
sys.path.insert(0, str(EXAMPLE))
import corpus  # noqa: E402
import evaluate  # noqa: E402


@pytest.fixture(scope="module")
def sets():
    return corpus.split()


def test_the_split_is_by_name_and_without_tests(sets):
    names = {key: {n for n, _ in items} for key, items in sets.items()}
    assert "json/decoder.py" in names["held-out"]
    assert "ast.py" in names["training"]
    assert {corpus.top(n) for n in names["held-out"]} == set(corpus.HELD_OUT)
    assert not {corpus.top(n) for n in names["training"]} & set(corpus.HELD_OUT)
    for part in names.values():
        assert not [n for n in part if set(n.split("/")) & corpus.SKIPPED_DIRS]


def test_no_held_out_file_is_also_training_text(sets):
    training = {corpus.sha256(t) for _, t in sets["training"]}
    assert not [n for n, t in sets["held-out"] if corpus.sha256(t) in training]


def test_a_foreign_library(tmp_path):
    for name in ("a.py", "json/b.py", "x/test/c.py", "site-packages/d.py", "e.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    found = corpus.split(str(tmp_path))
    assert [n for n, _ in found["training"]] == ["a.py"]
    assert [n for n, _ in found["held-out"]] == ["json/b.py"]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 20, 33])
@pytest.mark.parametrize("window,stride", [(8, 4), (8, 8), (8, 3)])
def test_windows_score_every_byte_once(length, window, stride):
    scored = []
    for start, first, end in evaluate.windows(length, window, stride):
        assert end - start <= window
        assert first == 0 or first - start >= window - stride
        scored += range(first, end)
    assert scored == list(range(length))


PROMPT = b"def f(x):\n"
FILLER = b"    y = 1\n" * 21


@pytest.mark.parametrize("continuation,expected", [
    (b"    return x\n    cut off he", (True, True, True, True)),
    (b"    return x", (False, False, False, False)),
    (b"    return x\n  y\n", (False, False, False, False)),
    (b"    return $x\n", (False, False, False, False)),
    (b"    return 1 1\n", (True, False, True, False)),
    (b"    if x:\n", (True, False, True, False)),
    (b"    y = '\xff'\n", (False, False, False, False)),
    (b"    return '''\n    text\n", (False, False, False, False)),
    (FILLER + b"    return '''\n    text\n", (False, False, True, True)),
    (FILLER + b"    return (x,\n", (False, False, True, True)),
    (FILLER + b"    return 1 1\n    z = (\n", (False, False, True, False)),
])
def test_rules(continuation, expected):
    passed = evaluate.judge(PROMPT, continuation)
    assert tuple(passed[rule] for rule in evaluate.RULES) == expected


def test_prompts_are_headers_with_whole_statements_before():
    text = (b"import os\n\n@mark\ndef f(a,\n      b):\n    return a\n\n"
            b"def g(): pass\n\nclass C:\n    x = 1\n")
    assert evaluate.prompts(text) == [
        b"import os\n\n@mark\ndef f(a,\n      b):\n",
        text[:text.index(b"    x = 1")],
    ]
    long = b"x = '" + b"y" * 600 + b"'\n"
    assert evaluate.prompts(long + b"def f():\n    pass\n") == [b"def f():\n"]


def test_the_files_in_the_repository_are_those_of_the_model_card():
    card = (EXAMPLE / "MODEL_CARD.md").read_text()
    for name in ("pycode-lm.weights", "pycode-lm.onnx", "pycode-lm-kv.onnx"):
        assert f"{corpus.sha256((EXAMPLE / name).read_bytes())}  {name}\n" in card


def test_the_published_model_predicts_python_it_has_not_seen():
    # The library of another Python version has other files, so the text is
    # here; a random network needs 8 bits per byte, and about 2 per byte are
    # reached only with the right weights, positions and mask.
    text = (b'"""Count words."""\n\nimport sys\n\n\ndef count_words(path):\n'
            b'    """Return the number of words in a file."""\n    total = 0\n'
            b"    with open(path) as file:\n        for line in file:\n"
            b"            total += len(line.split())\n    return total\n")
    plain = evaluate.session(str(EXAMPLE / "pycode-lm.onnx"), 1)
    assert evaluate.file_bits(plain, text, 1024, 512) / len(text) < 1.8
