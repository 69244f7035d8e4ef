"""What all tools promise to who types or scripts them: help, exit codes, streams, JSON."""
import json
import os
import pty
import signal
import subprocess

import pytest
from artefact import BUILD, BUNDLED, ROOT

FFNC = BUILD / "bin" / "ffnc"
MODEL = BUNDLED / "pycode-lm-kv.onnx"
VERBS = ["bench", "compare", "compile", "doctor", "eval", "generate", "inspect", "profile", "run"]
TOOLS = ["ffnc", "ffn-opt", "ffn-translate", "ffn-interpret", "ffn-wire-dump"]
SMALL = ("--threads", "1")


def call(tool, *arguments, **options):
    return subprocess.run([(BUILD / "bin" / tool).resolve(), *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "m.so"
    assert call("ffnc", "compile", MODEL, "-o", path).returncode == 0
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "text.txt"
    path.write_text("def main():\n    return 0\n")
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb):
    done = call("ffnc", verb, "--help")
    assert done.returncode == 0 and done.stderr == ""
    for part in (f"USAGE: ffnc {verb}", "EXAMPLES:\n  ffnc " + verb, "EXIT CODES:", "--json"):
        assert part in done.stdout
    # Nothing of LLVM's own options.
    assert len(done.stdout.splitlines()) < 90
    assert call("ffnc", "help", verb).stdout == done.stdout


@pytest.mark.parametrize("tool", TOOLS + ["ffn-lsp-server"])
def test_help_of_a_tool(tool):
    done = call(tool, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "x86-" not in done.stdout and "amdgpu" not in done.stdout


@pytest.mark.parametrize("tool", TOOLS)
def test_unknown_option_is_wrong_use(tool):
    done = call(tool, *(["run"] if tool == "ffnc" else []), "--no-such-option", "x")
    assert done.returncode == 2 and done.stdout == "" and "--no-such-option" in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_use_names_the_help_of_the_verb(verb):
    done = call("ffnc", verb, "--no-such-option")
    assert done.returncode == 2 and done.stdout == "" and f"'ffnc {verb} --help'" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("generate", MODEL, "--prompt", "x", "--temperature", "nan"), ("compare", MODEL, MODEL, "--tolerance", "-1"),
     ("compile", MODEL, "-o", "/nowhere/m.so", "--opt-level", "4"), ("compile", MODEL, "-o", "/nowhere/m.so", "--emit=elf"),
     ("eval", MODEL, "x", "--window", "0"), ("bench", MODEL, "--repeat", "0"), ("run", MODEL, "--dim", "batch"), (),
     ("run", MODEL, "--random", "--int-bound", "0"), ("run", MODEL, "--random", "--int-bound", "-3"),
     ("compare", MODEL, MODEL, "--int-bound", "0"), ("generate", MODEL, "--bos", "-2"), ("generate", MODEL, "--bos", "-1"),
     ("eval", MODEL, "x", "--bos", "-1"), ("profile", MODEL, "--calib", "x", "-o", "x", "--threads", "0")],
)
def test_wrong_values_are_wrong_use(arguments):
    done = call("ffnc", *arguments)
    assert done.returncode == 2 and done.stdout == "" and done.stderr


@pytest.mark.parametrize(
    "tool,arguments",
    [("ffnc", ("inspect",)), ("ffnc", ("run",)), ("ffnc", ("bench",)), ("ffnc", ("doctor",)), ("ffnc", ("generate", "--prompt", "x")),
     ("ffnc", ("compile", "-o", "/nowhere/x.so")), ("ffn-opt", ()), ("ffn-translate", ("--import-onnx",)), ("ffn-interpret", ()),
     ("ffn-wire-dump", ())],
)
@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "elf"])
def test_file_that_is_no_model(tool, arguments, kind, tmp_path):
    path = tmp_path / {"elf": "m.so", "text": "m.onnx", "empty": "m.onnx"}.get(kind, "m")
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes({"empty": b"", "text": b"no model\n" * 50, "elf": b"\x7fELF and no more"}[kind])
    done = call(tool, *arguments, path)
    # An empty file is an empty module to ffn-opt.
    if done.returncode == 0 and (tool, kind) == ("ffn-opt", "empty"):
        return
    assert done.returncode == 1 and done.stdout == "", done
    assert "error: " in done.stderr
    # ffn-opt leaves text to the parser of MLIR, whose errors have no code.
    if (tool, kind) != ("ffn-opt", "text"):
        assert "[FFN-" in done.stderr


def test_json_is_one_object_and_nothing_else(library, text, tmp_path):
    for arguments in [
        ("bench", library, "--repeat", 1, "--warmup", 0, "--prompt-tokens", 4, "--decode-tokens", 2, "--profile", *SMALL),
        ("bench", library, "--repeat", 1, "--profile", "--dim", "batch=1", "--dim", "sequence=2", "--dim", "past_sequence=1", *SMALL),
        ("compare", library, library, "--dim", "batch=1,2", "--dim", "sequence=1", "--dim", "past_sequence=0", *SMALL),
        ("compile", MODEL, "-o", tmp_path / "m.so"),
        ("compile", MODEL, "-o", tmp_path / "m.onnx"),
        ("doctor",),
        ("doctor", library),
        ("eval", library, text, "--whole-file", *SMALL),
        ("generate", library, "--prompt", "def ", "--max-tokens", 4, *SMALL),
        ("inspect", MODEL),
        ("inspect", library),
        ("run", library, "--random", "--dim", "batch=1", "--dim", "sequence=1", "--dim", "past_sequence=0", *SMALL),
        ("run", MODEL, "--random", "--dim", "batch=1", "--dim", "sequence=1", "--dim", "past_sequence=0", *SMALL),
    ]:
        done = call("ffnc", *arguments, "--json")
        assert done.returncode == 0, (arguments, done.stderr)
        result = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{arguments}: {name} is no JSON"))
        assert isinstance(result, dict) and result, arguments
        # No terminal, no progress.
        assert done.stderr == "", (arguments, done.stderr)


def test_profile_names_the_kernels(library):
    sizes = [f"--dim={name}={size}" for name, size in (("batch", 1), ("sequence", 64), ("past_sequence", 1))]
    found = json.loads(call("ffnc", "bench", library, "--repeat", 3, "--profile", "--json", *sizes, *SMALL).stdout)["profile"]
    times = [kernel["seconds"] for kernel in found[:-1]]
    assert times == sorted(times, reverse=True) and times[-1] > 0 and found[-1]["kernel"] == "between kernels"
    # Eight layers, each with one network of two products.
    products = [kernel for kernel in found if kernel["kernel"].startswith("ffn_gemm")]
    assert sum(kernel["launches"] for kernel in products) > 16
    assert all(kernel["launches"] == round(kernel["launches"]) for kernel in found)
    text = call("ffnc", "bench", library, "--repeat", 1, "--prompt-tokens", 4, "--decode-tokens", 2, "--profile", *SMALL).stdout
    assert "kernels of a prefill" in text and "kernels of a decode step" in text
    assert "profile" not in json.loads(call("ffnc", "bench", library, "--repeat", 1, "--json", *sizes, *SMALL).stdout)


def test_json_of_doctor_and_compile(library, tmp_path):
    model = json.loads(call("ffnc", "doctor", library, "--json").stdout)["model"]
    assert model["runs_here"] and model["level"] in ("avx2", "avx2_vnni", "avx512", "avx512_vnni") and "f32" in model["numerics"]
    out = tmp_path / "m.so"
    done = json.loads(call("ffnc", "compile", MODEL, "-o", out, "--json", "--max-embedded-weights", 1000).stdout)
    weights = tmp_path / "m.so.weights"
    assert done.pop("seconds") > 0
    assert done == {"output": str(out), "emit": "so", "bytes": out.stat().st_size, "weights_file": str(weights),
                    "weights_bytes": weights.stat().st_size, "candidates": [], "remarks": []}


def test_failure_leaves_stdout_empty_with_json(library, text, tmp_path):
    for arguments in [("inspect", text), ("compile", text, "-o", tmp_path / "x.so"), ("doctor", text), ("run", library),
                      ("eval", library, tmp_path), ("compare", library, text)]:
        done = call("ffnc", *arguments, "--json")
        assert done.returncode == 1 and done.stdout == "" and "[FFN-" in done.stderr, (arguments, done)
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def test_progress_on_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    done = subprocess.run([FFNC, "compile", MODEL, "-o", tmp_path / "m.so"], stdout=subprocess.PIPE, stderr=theirs, timeout=300)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0 and done.stdout == b""
    assert [line.split()[0] for line in said.split("\r\n") if line] == ["reading", "running", "writing"]


def test_compile_replaces_nothing_but_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "folder", "link"):
        done = call("ffnc", "compile", MODEL, "-o", tmp_path / name)
        assert done.returncode == 1 and "not a regular file [FFN-O101]" in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "pipe"] and (tmp_path / "pipe").is_fifo()
    done = call("ffnc", "compile", MODEL, "-o", "-", cwd=tmp_path)
    assert done.returncode == 2 and "name a file" in done.stderr
    # A name like an option is a name.
    done = call("ffnc", "compile", MODEL, "-o=-m.so", cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "-m.so").stat().st_size > 1 << 20, done.stderr


def test_wrong_values_of_compile(tmp_path):
    for option in ("--cpu=foo", f"--weights-dir={tmp_path / 'none'}", "--emit=foo", "--opt-level=9"):
        done = call("ffnc", "compile", MODEL, "-o", tmp_path / "m.so", option)
        assert done.returncode == 2 and option.split("=")[0] in done.stderr and not list(tmp_path.iterdir()), done.stderr
    done = call("ffnc", "compile", MODEL, "-o", tmp_path / "m.onnx", "--emit=so")
    assert done.returncode == 0 and "whose name says otherwise" in done.stderr


def test_dims_have_defaults_and_known_names(library):
    done = call("ffnc", "compare", MODEL, library)
    assert done.returncode == 0 and "note: no --dim batch: taking 2" in done.stderr, done.stderr
    assert "batch=2" in done.stdout
    for verb in (("compare", MODEL, library), ("run", library, "--random")):
        done = call("ffnc", *verb, "--dim", "foo=2")
        assert done.returncode == 2 and "--dim foo: the inputs have no such dimension; they have batch, " in done.stderr, done.stderr


def test_commands_of_the_readme(tmp_path):
    """The shell block, as written, from a folder that has the examples; builds and the slow search are shortened."""
    text = (ROOT / "README.md").read_text()
    block = next(part for part in text.split("```") if part.startswith("sh") and "ffnc inspect" in part)
    lines = block.replace("\\\n", "").splitlines()[1:]
    commands = [line.replace("rewritten.onnx", str(tmp_path / "rewritten.onnx")) for line in lines if line.startswith("ffnc ")]
    assert len(commands) >= 8
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    environment = {**os.environ, "PATH": f"{(BUILD / 'bin').resolve()}:{os.environ['PATH']}"}
    for command in commands:
        command = command.replace("samples=8", "samples=1").replace("--max-tokens 200", "--max-tokens 5")
        # The one model that the reader brings.
        if " model.onnx" in command:
            command = command.replace(" model.onnx", " examples/pycode-lm/pycode-lm.onnx")
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (command, done.stderr)


def test_tokens_outside_of_the_vocabulary(library, tmp_path):
    done = call("ffnc", "generate", library, "--bos", 256, "--prompt", "x", *SMALL)
    assert done.returncode == 2 and done.stdout == "" and "--bos 256" in done.stderr and "[FFN-D206]" in done.stderr
    assert call("ffnc", "generate", library, "--bos", 255, "--prompt", "x", "--max-tokens", 1, *SMALL).returncode == 0
    # A tokenizer with more tokens than the model has.
    tokenizer = tmp_path / "large.json"
    tokenizer.write_text(json.dumps({"pieces_hex": [chr(0x100 + i).encode().hex() for i in range(300)], "scores": [0.0] * 300}))
    done = call("ffnc", "generate", library, "--tokenizer", tokenizer, "--prompt", chr(0x100 + 299), *SMALL)
    assert done.returncode == 2 and done.stdout == "" and "token 299" in done.stderr and "[FFN-D206]" in done.stderr


def test_bench_names_the_dims_that_there_are(library):
    done = call("ffnc", "bench", library, "--dim", "foo=1", *SMALL)
    assert done.returncode == 2 and done.stdout == ""
    assert "--dim foo" in done.stderr and "batch, past_sequence, sequence" in done.stderr


WRITERS = [
    ("ffnc", "--help"), ("ffnc", "--version"), ("ffnc", "run", "--help"), ("ffnc", "inspect", MODEL), ("ffnc", "inspect", MODEL, "--json"),
    ("ffnc", "run", None, "--random", "--dim=batch=1", "--dim=sequence=1", "--dim=past_sequence=0", *SMALL),
    ("ffnc", "generate", None, "--prompt", "x", "--max-tokens", 100000, *SMALL),
    ("ffnc", "bench", None, "--repeat", 1, "--prompt-tokens", 2, "--decode-tokens", 1, "--json", *SMALL), ("ffnc", "doctor"),
    ("ffn-opt", MODEL), ("ffn-opt", "--help"), ("ffn-translate", "--import-onnx", MODEL), ("ffn-wire-dump", MODEL),
]


@pytest.mark.parametrize("command", WRITERS, ids=lambda command: " ".join(map(str, command[:2])))
def test_full_device_and_broken_pipe(command, library):
    tool, *arguments = [str(library if part is None else part) for part in command]
    run = lambda stdout, *more, **options: subprocess.run([(BUILD / "bin" / tool).resolve(), *arguments, *more], stdout=stdout,
                                                          stderr=subprocess.PIPE, text=True, timeout=300, **options)
    with open("/dev/full", "w") as full:
        done = run(full)
    assert done.returncode == 1 and "LLVM ERROR" not in done.stderr
    assert done.stderr.count("error: cannot write to stdout: No space left on device [FFN-O101]") == 1, done.stderr
    # With SIGPIPE as a shell has it, and ignored as some services start their programs.
    for restore in (True, False):
        reader, writer = os.pipe()
        os.close(reader)
        done = run(writer, restore_signals=restore)
        os.close(writer)
        assert done.returncode in (-signal.SIGPIPE, 141) and "error" not in done.stderr, done


def test_full_device_by_name():
    done = call("ffn-opt", MODEL, "-o", "/dev/full")
    assert done.returncode == 1 and "/dev/full: error: " in done.stderr and "[FFN-O101]" in done.stderr
