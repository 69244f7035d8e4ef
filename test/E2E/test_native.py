"""The verbs of ffnc on compiled models, and their figures on trained ones."""
import itertools
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from artefact import BUILD, BUNDLED, ROOT, SHARED, error_of, ort_session

FFNC = BUILD / "bin" / "ffnc"
DATA = SHARED.parent / "data"
sys.path.append(str(ROOT / "test" / "python"))
import handmade  # noqa: E402

# Every batch, length and past, where the model has them.
SIZES = list(itertools.product((0, 1, 2, 5), (1, 7, 33), (0, 7, 33)))
TRAINED = [BUNDLED / "pycode-lm.onnx", BUNDLED / "pycode-lm-kv.onnx"] + [
    SHARED / name
    for name in ("stories260K.onnx", "stories260K_fp16w.onnx", "stories260K_torch_op14.onnx", "babyllama105.onnx",
                 "babyllama105_ext.onnx", "kwt1/kwt1.onnx", "kwt1/kwt1_ln17.onnx", "kwt1/kwt1_torch_op14.onnx",
                 "kwt1/kwt1_frontend.onnx")
]


def ffnc(*arguments, code=0):
    # One thread: figures do not depend on it, and the tests of others run too.
    if arguments[0] in ("generate", "eval", "compare") and "--help" not in arguments:
        arguments = (*arguments, "--threads", 1)
    done = subprocess.run([str(FFNC), *map(str, arguments)], capture_output=True)
    assert done.returncode == code, done.stderr.decode(errors="replace")
    done.stderr = done.stderr.decode(errors="replace")
    return done


def ffnc_json(*arguments, code=0):
    return json.loads(ffnc(*arguments, "--json", code=code).stdout)


def needs(*paths):
    for path in paths:
        if not path.exists():
            pytest.skip(f"{path} is not there")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles a model once for all tests of this file."""
    folder, done = tmp_path_factory.mktemp("compiled"), {}

    def get(model):
        needs(model)
        if model not in done:
            done[model] = folder / f"{len(done)}-{model.stem}.so"
            ffnc("compile", model, "-o", done[model])
        return done[model]

    return get


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    return handmade.build(tmp_path_factory.mktemp("by-hand"), BUILD)


def random_inputs(session, batch, length, past):
    generator = np.random.default_rng(batch + 10 * length + 100 * past)
    inputs = {}
    for info in session.get_inputs():
        shape = []
        for dim in info.shape:
            if isinstance(dim, int):
                shape.append(dim)
            elif "+" in dim:
                shape.append(past + length)
            else:
                shape.append(past if "past" in dim else batch if "batch" in dim else length)
        if "int" in info.type:
            values = np.ones(shape) if "mask" in info.name else generator.integers(1, 100, shape)
            inputs[info.name] = values.astype(np.int64)
        else:
            inputs[info.name] = generator.standard_normal(shape).astype(np.float32)
    return inputs


@pytest.mark.parametrize("model", TRAINED, ids=lambda path: path.stem)
def test_within_the_tolerance_of_whole_models(model, compiled, tmp_path):
    """e(ours) <= 4 max(e(ONNX Runtime), 2^-22), both against float64."""
    library, session = compiled(model), ort_session(model)
    dims = {dim for info in session.get_inputs() for dim in info.shape if isinstance(dim, str)}
    sizes = dict.fromkeys((b, n if len(dims) > 1 else 1, p if len(dims) > 2 else 0) for b, n, p in SIZES)
    assert len(sizes) == (4, 4, 12, 36)[len(dims)]
    archives = []
    for size in sizes:
        inputs = random_inputs(session, *size)
        archive = tmp_path / ("-".join(map(str, size)) + ".npz")
        outputs = zip(session.get_outputs(), session.run(None, inputs))
        np.savez(archive, **{f"in:{k}": v for k, v in inputs.items()}, **{f"out:{o.name}": v for o, v in outputs})
        archives.append(f"--reference={archive}")
    found = ffnc_json("compare", model, library, *archives)
    assert found["equal"] and len(found["outputs"]) == len(sizes) * len(session.get_outputs())
    assert all(entry["reference_error"] < 1e-3 for entry in found["outputs"])
    # Something was compared.
    assert any(entry["error"] > 0 for entry in found["outputs"])
    # And `ffnc run` takes the same file.
    with np.load(archives[-1].partition("=")[2]) as archive:
        np.savez(tmp_path / "run.npz", **{name[3:]: archive[name] for name in archive if name.startswith("in:")})
        wanted = {name[4:]: archive[name] for name in archive if name.startswith("out:")}
    for entry in ffnc_json("run", library, "--threads", 1, "--input", tmp_path / "run.npz", "--output-dir", tmp_path / "out")["outputs"]:
        assert error_of(np.load(entry["file"]), wanted.pop(entry["name"])) <= 1e-5
    assert not wanted


def test_every_trained_model_is_tested():
    needs(SHARED)
    assert {path for pattern in ("*.onnx", "kwt1/*.onnx") for path in SHARED.glob(pattern)} <= set(TRAINED)


@pytest.mark.parametrize("name,tokenizer", [("stories260K", "tok512"), ("babyllama105", "tok105")])
def test_greedy_text_is_the_reference(name, tokenizer, compiled):
    folder = SHARED / "llama2c"
    needs(folder)
    reference = np.load(folder / f"{name}_ref.npz")["greedy_ids"].tolist()
    assert len(reference) == 250
    prompt = "Once upon a time"
    found = ffnc_json("generate", compiled(SHARED / f"{name}.onnx"), "--tokenizer", folder / f"{tokenizer}.json",
                      "--prompt", prompt, "--max-tokens", 250)
    assert (found["prompt_ids"] + found["ids"])[:250] == reference


# Perplexity and bits per character of the models' README.
TEXTS = [
    ("stories260K", "tok512", 512, "stories_own_dev.txt", 0, 4212, 4.7602, 1.1411),
    ("babyllama105", "tok105", 256, "stories_own_dev.txt", 0, 8297, 2.5652, 1.3571),
    ("stories260K", "tok512", 512, "grimm_tales.txt", 40, 29923, 22.9908, 2.3103),
]


@pytest.mark.parametrize("name,tokenizer,window,text,documents,tokens,perplexity,bits", TEXTS)
def test_perplexity_is_that_of_the_readme(name, tokenizer, window, text, documents, tokens, perplexity, bits, compiled):
    needs(DATA / text)
    found = ffnc_json("eval", compiled(SHARED / f"{name}.onnx"), DATA / text, "--tokenizer",
                      SHARED / "llama2c" / f"{tokenizer}.json", "--window", window, "--max-documents", documents)
    assert found["tokens"] == tokens
    assert round(found["perplexity"], 4) == perplexity and round(found["bits_per_character"], 4) == bits


def test_token_files_score_as_text(compiled):
    needs(DATA / "stories_own_dev.tok512.json")
    library = compiled(SHARED / "stories260K.onnx")
    found = ffnc_json("eval", library, DATA / "stories_own_dev.tok512.json", "--tokenizer",
                      SHARED / "llama2c" / "tok512.json", "--window", 512)
    assert found["tokens"] == 4212 and round(found["perplexity"], 4) == 4.7602


def test_accuracy_is_that_of_the_readme(compiled):
    data = SHARED / "kwt1" / "kwt1_eval_dev.npz"
    needs(data)
    found = ffnc_json("eval", compiled(SHARED / "kwt1" / "kwt1.onnx"), data)
    assert (found["right"], found["rows"]) == (281, 306)


def test_windows_that_overlap_score_each_byte_once(compiled, tmp_path):
    """The rule of examples/pycode-lm/evaluate.py, on its own windows."""
    text = (BUNDLED / "corpus.py").read_bytes()[:700]
    (tmp_path / "text").write_bytes(text)
    found = ffnc_json("eval", compiled(BUNDLED / "pycode-lm.onnx"), tmp_path / "text", "--whole-file", "--bos", 0,
                      "--window", 256, "--stride", 128)
    session = ort_session(BUNDLED / "pycode-lm.onnx")
    data = np.frombuffer(b"\0" + text, np.uint8).astype(np.int64)
    bits, start, scored = 0.0, 0, 0
    while scored < len(text):
        end = min(start + 256, len(text))
        logits = session.run(None, {"input_ids": data[None, start:end]})[0][0, scored - start:].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        chosen = logits[np.arange(len(logits)), data[scored + 1:end + 1]]
        bits += (np.log(np.exp(logits).sum(-1)) - chosen).sum() / math.log(2)
        scored, start = end, start + 128
    assert found["tokens"] == len(text)
    assert found["bits_per_byte"] == pytest.approx(bits / len(text), rel=1e-5)


def test_cache_gives_the_text_of_the_plain_graph(compiled):
    prompt = ["--bos", 0, "--prompt", "import os\n\ndef ", "--max-tokens", 24]
    plain = ffnc_json("generate", compiled(BUNDLED / "pycode-lm.onnx"), *prompt)
    cached = ffnc_json("generate", compiled(BUNDLED / "pycode-lm-kv.onnx"), *prompt)
    assert cached["cache"] and not plain["cache"]
    assert cached["ids"] == plain["ids"] and len(cached["ids"]) == 24


def test_seeds_decide_the_text(compiled):
    library = compiled(BUNDLED / "pycode-lm-kv.onnx")
    draw = lambda *more: ffnc_json("generate", library, "--bos", 0, "--prompt", "def ", "--max-tokens", 40,
                                   "--temperature", 1.0, *more)["ids"]
    assert draw("--seed", 1) == draw("--seed", 1) != draw("--seed", 2)
    greedy = ffnc_json("generate", library, "--bos", 0, "--prompt", "def ", "--max-tokens", 40)["ids"]
    assert draw("--top-k", 1) == greedy


def test_text_comes_on_stdout_and_progress_on_stderr(compiled):
    library = compiled(BUNDLED / "pycode-lm-kv.onnx")
    done = ffnc("generate", library, "--bos", 0, "--prompt", "def ", "--max-tokens", 5)
    assert done.stdout.startswith(b"def ") and len(done.stdout) == 4 + 5 + 1
    assert "tokens read" in done.stderr


def test_run_writes_what_onnx_runtime_gives(compiled, tmp_path):
    model = BUNDLED / "pycode-lm.onnx"
    ids = np.arange(21, dtype=np.int64).reshape(3, 7)
    np.save(tmp_path / "ids.npy", ids.astype(np.int32))
    before = (tmp_path / "ids.npy").read_bytes()
    # A model file is compiled on the way.
    for file in (compiled(model), model):
        found = ffnc_json("run", file, "--input", f"input_ids={tmp_path / 'ids.npy'}", "--output-dir", tmp_path / "out")
        (entry,) = found["outputs"]
        assert entry["shape"] == [3, 7, 256] and entry["file"] == str(tmp_path / "out" / "logits.npy")
        ours, theirs = np.load(entry["file"]), ort_session(model).run(None, {"input_ids": ids})[0]
        assert ours.dtype == np.float32 and np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
    assert (tmp_path / "ids.npy").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"ids.npy", "out"}


def test_random_inputs_repeat(by_hand, tmp_path):
    sizes = ["--dim", "batch=2", "--dim", "seq=3", "--dim", "past=1"]
    arrays = []
    for i, seed in enumerate((5, 5, 6)):
        ffnc("run", by_hand, "--random", "--seed", seed, *sizes, "--output-dir", tmp_path / str(i))
        arrays.append(np.load(tmp_path / str(i) / "y.npy"))
    assert np.array_equal(arrays[0], arrays[1]) and not np.array_equal(arrays[0], arrays[2])
    assert np.array_equal(np.load(tmp_path / "0" / "z.npy"), np.arange(8).reshape(2, 4))


@pytest.mark.parametrize(
    "arguments,code,text",
    [
        (["run", "MODEL"], 1, "FFN-R400"),
        (["run", "MODEL", "--random"], 1, "FFN-R400"),
        (["run", "MODEL", "--random", "--dim", "batch=two"], 2, "--dim"),
        (["run", "MODEL", "--random", "--dim", "batch=-1"], 2, "--dim"),
        (["run", "MODEL", "--input", "nothing=FILE"], 1, "FFN-R400"),
        (["run", "MODEL", "--input", "x=FILE"], 1, "FFN-D101"),
        (["run", "MODEL", "--input", "ARCHIVE"], 1, "FFN-D102"),
        (["run", "MODEL", "--random", "--dim", "batch=1", "--dim", "seq=4611686018427387904", "--dim", "past=0"], 1, "FFN-R404"),
        (["run", "MODEL", "--threads", "1000"], 2, "expected 1 to 256"),
        (["generate", "MODEL", "--threads", "0"], 2, "expected 1 to 256"),
        (["eval", "MODEL", "FILE", "--threads", "-1"], 2, "expected 1 to 256"),
        (["bench", "MODEL", "--threads", "two"], 2, "expected 1 to 256"),
        (["compare", "MODEL", "MODEL", "--threads", "4294967297"], 2, "expected 1 to 256"),
        (["run", "MODEL", "--threads="], 2, "--threads"),
        (["run", "/nothing.so"], 1, "FFN-R101"),
        (["run", "FILE"], 1, "error"),
        (["run", "BAD"], 1, "FFN-R101"),
        (["generate", "MODEL", "--prompt", "x"], 1, "FFN-D205"),
        (["generate", "MODEL"], 2, "--prompt"),
        (["generate", "MODEL", "--prompt", "x", "--temperature", "-1"], 2, "--temperature"),
        (["eval", "MODEL", "FILE"], 1, "FFN-D205"),
        (["eval", "MODEL", "ARCHIVE"], 1, "FFN-D102"),
        (["eval", "MODEL", "GOOD"], 1, "FFN-D208"),
        (["bench", "MODEL", "--repeat", "0"], 2, "--repeat"),
        (["bench", "MODEL"], 1, "FFN-R400"),
        (["compare", "MODEL", "/nothing.onnx"], 1, "FFN-R101"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_misuse_is_told(arguments, code, text, by_hand, tmp_path):
    (tmp_path / "file").write_bytes(b"no array")
    (tmp_path / "bad.so").write_bytes(b"\x7fELF no library")
    (tmp_path / "bad.npz").write_bytes(b"PK\x05\x06" + b"\xff" * 18)
    np.savez(tmp_path / "good.npz", other=np.zeros(3))
    words = {"MODEL": str(by_hand), "FILE": str(tmp_path / "file"), "ARCHIVE": str(tmp_path / "bad.npz"),
             "GOOD": str(tmp_path / "good.npz"), "BAD": str(tmp_path / "bad.so")}
    filled = []
    for argument in arguments:
        for key, value in words.items():
            argument = argument.replace(key, value)
        filled.append(argument)
    done = ffnc(*filled, code=code)
    assert text in done.stderr and done.stdout == b""


def test_comparison_beyond_the_limit_has_a_code_of_its_own(compiled):
    plain, other = compiled(BUNDLED / "pycode-lm.onnx"), compiled(SHARED / "stories260K.onnx")
    sizes = ["--dim", "batch=1,2", "--dim", "sequence=3"]
    same = ffnc_json("compare", plain, plain, *sizes)
    assert same["equal"] and [entry["error"] for entry in same["outputs"]] == [0, 0]
    found = ffnc_json("compare", plain, other, *sizes, code=4)
    assert not found["equal"] and not found["outputs"][0]["same_shape"]
    done = ffnc("compare", BUNDLED / "pycode-lm.onnx", plain, *sizes, "--tolerance", "1e-12", code=4)
    assert b"BEYOND" in done.stdout


def test_bench_measures_reading_and_writing(compiled):
    found = ffnc_json("bench", compiled(BUNDLED / "pycode-lm-kv.onnx"), "--prompt-tokens", 8, "--decode-tokens", 3,
                      "--repeat", 2, "--warmup", 1, "--threads", 1)
    assert found["prefill"]["runs"] == 2 and found["decode"]["runs"] == 6
    for part, tokens in (("prefill", 8), ("decode", 1)):
        entry = found[part]
        assert 0 < entry["min_seconds"] <= entry["median_seconds"]
        assert entry["tokens_per_second"] == pytest.approx(tokens / entry["median_seconds"])


def test_bench_of_two_models_takes_turns(compiled):
    model, plain = compiled(BUNDLED / "pycode-lm-kv.onnx"), compiled(BUNDLED / "pycode-lm.onnx")
    common = ("--prompt-tokens", 64, "--decode-tokens", 3, "--repeat", 3, "--threads", 1)
    found = ffnc_json("bench", model, model, *common)
    assert set(found["ratio"]) == {"prefill", "decode"} and found["first"]["decode"]["runs"] == found["second"]["decode"]["runs"] == 9
    assert all(ratio > 0 for ratio in found["ratio"].values())
    assert set(ffnc_json("bench", model, plain, *common)["ratio"]) == {"prefill"}, "one of them has no cache"
    text = ffnc("bench", model, model, *common).stdout.decode()
    assert text.count("prefill of 64: median") == 2 and text.count("ratio") == 2


def test_bench_of_a_plain_model(by_hand):
    found = ffnc_json("bench", by_hand, "--dim", "batch=1", "--dim", "seq=4", "--dim", "past=0", "--repeat", 3)
    assert found["run"]["runs"] == 3 and found["dims"] == {"batch": 1, "past": 0, "seq": 4}


def test_inspect_tells_the_signature(by_hand, compiled):
    found = ffnc_json("inspect", by_hand)
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "dims": ["batch", "seq"]},
                               {"name": "past.0", "dtype": "float32", "dims": ["batch", "past"]}]
    assert found["outputs"][1] == {"name": "z", "dtype": "int64", "dims": ["batch", "past + seq"]}
    assert (found["level"], found["features"], found["numerics"], found["weight_bytes"]) == ("baseline", ["sse4.2"], "exact", 4)
    text = ffnc("inspect", compiled(BUNDLED / "pycode-lm.onnx")).stdout.decode()
    assert "input     input_ids  int64 [batch, sequence]" in text and "features" in text and "bytes" in text


def start(arguments, **options):
    """A process that a signal ends, also where the tests run as a background job of a shell, which ignores SIGINT."""
    default = lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=default, **options)


def test_interrupt_leaves_no_file(by_hand, tmp_path):
    """x[0] = -1 makes the model sleep for 0.4 s a run."""
    np.savez(tmp_path / "in.npz", **{"x": np.full((1, 1), -1, np.float32), "past.0": np.zeros((1, 0), np.float32)})
    for number in (signal.SIGINT, signal.SIGTERM):
        running = start([str(FFNC), "run", str(by_hand), "--input", str(tmp_path / "in.npz"), "--output-dir", str(tmp_path / "out")])
        deadline = time.monotonic() + 10
        while by_hand.name not in pathlib.Path(f"/proc/{running.pid}/maps").read_text() and time.monotonic() < deadline:
            time.sleep(0.005)
        running.send_signal(number)
        assert running.wait(10) == 128 + number and running.stdout.read() == b""
        assert not (tmp_path / "out").exists()


def test_interrupt_while_compiling_leaves_no_folder(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    running = start([str(FFNC), "bench", str(BUNDLED / "pycode-lm.onnx")], env=environment, start_new_session=True)
    deadline = time.monotonic() + 20
    while not list(tmp_path.rglob("*.o")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir())
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(20) == 130
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["weights.o", "kernels.o"])
def test_interrupt_of_compile_leaves_nothing(stage, number, tmp_path):
    running = start([str(FFNC), "compile", str(BUNDLED / "pycode-lm.onnx"), "-o", str(tmp_path / "m.so")])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("m.so.tmp-*/" + stage)) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert running.poll() is None and list(tmp_path.iterdir())
    running.send_signal(number)
    assert running.wait(20) == 128 + number
    assert not list(tmp_path.iterdir()) and running.stdout.read() == b""


@pytest.mark.parametrize("verb", ["run", "generate", "eval", "compare", "bench", "inspect"])
def test_help_has_examples(verb):
    assert b"EXAMPLES:\n  ffnc " + verb.encode() in ffnc(verb, "--help").stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    for source in (ROOT / "examples" / "c" / "run.c", ROOT / "test" / "E2E" / "c" / "misuse.c"):
        subprocess.run(["cc", "-Wall", "-Werror", f"-I{ROOT / 'include'}", str(source), "-o", str(folder / source.stem),
                        "-ldl"], check=True)
    return folder


def test_c_program_runs_models(programs, compiled, by_hand):
    for library in (by_hand, compiled(BUNDLED / "pycode-lm-kv.onnx")):
        done = subprocess.run([programs / "run", library, "2"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert {"y: 2 dimensions", "logits: 3 dimensions"} & set(done.stdout.splitlines())
    assert subprocess.run([programs / "run", "/nothing.so", "2"], capture_output=True).returncode == 1


def test_c_misuse_gets_code_and_text(programs, compiled, tmp_path):
    from test_compile import F, save
    from onnx import helper

    pair = save(tmp_path / "pair.onnx", [helper.make_node("Add", ["a", "b"], ["y"])],
                [("a", F, ["n", 4]), ("b", F, ["n", 4])], [("y", F, ["n", 4])])
    ffnc("compile", pair, "-o", tmp_path / "pair.so")
    for library, form, least in ((compiled(BUNDLED / "pycode-lm.onnx"), "ids", 40), (tmp_path / "pair.so", "pair", 43)):
        done = subprocess.run([programs / "misuse", library, form], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        assert done.stdout.count("\nok ") >= least
