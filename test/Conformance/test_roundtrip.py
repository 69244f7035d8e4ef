"""Import and export of a corpus of real graphs, against the committed verdicts."""
import json
import os
import pathlib

import pytest

import roundtrip

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FFN_BUILD_DIR", ROOT / "build" / "release"))
CORPUS = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared")) / "models" / "graphs"


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus of graphs at {CORPUS}")
def test_corpus_round_trip():
    verdicts = roundtrip.judge_all(CORPUS, BUILD / "bin")
    expected = json.loads(roundtrip.EXPECTED.read_text())
    # The first word is the verdict; the detail is for people.
    assert {name: text.split()[0] for name, text in verdicts.items()} == {name: text.split()[0] for name, text in expected.items()}
