"""What fewer bits cost, on trained models: KL divergence and perplexity against the f32 model."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared"))
WINDOWS, WINDOW = 16, 256
# Of int8 and int4 the tied head is a copy in the same precision.
QUANTIZED = {"bf16": "type=bf16 shared=true", "int8": "type=int8 shared=true", "int4": "type=int4 shared=true", "int4 in groups of 32": "type=int4 group=32 shared=true"}
# Of integers, rows in f32 first, then rounded to 8 bits as ffnc does it.
QUANTIZED |= {f"{name}, rows in int8": f"{options} activations=int8" for name, options in QUANTIZED.items() if name != "bf16"}


def held_out_bytes():
    """Windows of byte ids, 0 first, of modules that the bundled model was not trained on."""
    import sysconfig
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(path.read_bytes() for name in ("json", "email", "http") for path in sorted((library / name).glob("*.py")))
    at = np.linspace(0, len(text) - WINDOW, WINDOWS).astype(int)
    return [np.concatenate(([0], np.frombuffer(text[i:i + WINDOW - 1], np.uint8))).astype(np.int64) for i in at]


def stories(tokens):
    """The documents of a file of token ids, cut to the window."""
    return [np.array(ids[:WINDOW], np.int64) for ids in json.loads((SHARED / "data" / tokens).read_text()) if len(ids) > 1]


def trained():
    """Name, graph, texts as token ids."""
    found = [("pycode-lm", ROOT / "examples" / "pycode-lm" / "pycode-lm.onnx", held_out_bytes())]
    for name, tokens in (("stories260K", "stories_own_dev.tok512.json"), ("babyllama105", "stories_own_dev.tok105.json")):
        if (SHARED / "models" / f"{name}.onnx").exists():
            found.append((name, SHARED / "models" / f"{name}.onnx", stories(tokens)))
    return found


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def logits_of(build, graph, quantize, texts):
    if list((build / "python" / "ffn_mlir").glob("_ffn_mlir*.so")) and str(build / "python") not in sys.path:
        sys.path.insert(0, str(build / "python"))
    import ffn_mlir
    with tempfile.TemporaryDirectory() as folder:
        library = pathlib.Path(folder) / "model.so"
        passes = "ffn-raise" + (f",ffn-quantize{{{quantize}}}" if quantize else "")
        subprocess.run([str(build / "bin" / "ffnc"), "compile", str(graph), "-o", str(library), f"--pass-pipeline=builtin.module({passes})"], check=True)
        model = ffn_mlir.load(str(library))
        return [model.run(input_ids=ids[None])["logits"][0] for ids in texts], model.info.weight_bytes


def run(build, out):
    rows = []
    for name, graph, texts in trained():
        targets = [ids[1:] for ids in texts]
        exact, bytes_f32 = logits_of(build, graph, None, texts)
        exact = [log_softmax(x) for x in exact]
        loss = lambda found: -np.concatenate([x[np.arange(len(t)), t] for x, t in zip(found, targets)])
        base = loss(exact)
        for label, quantize in QUANTIZED.items():
            found, size = logits_of(build, graph, quantize, texts)
            found = [log_softmax(x) for x in found]
            kl = np.concatenate([(np.exp(p) * (p - q)).sum(-1) for p, q in zip(exact, found)])
            rows.append({"model": name, "precision": label, "tokens": int(base.size), "perplexity_f32": float(np.exp(base.mean())),
                         "perplexity_ratio": float(np.exp((loss(found) - base).mean())), "kl_mean": float(kl.mean()), "kl_max": float(kl.max()),
                         "top1": float(np.mean(np.concatenate([p.argmax(-1) == q.argmax(-1) for p, q in zip(exact, found)]))),
                         "weight_bytes": size, "weight_bytes_f32": bytes_f32})
            print(f"{name} {label}: KL {rows[-1]['kl_mean']:.2e}, perplexity x {rows[-1]['perplexity_ratio']:.4f}", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    (out / "quality.json").write_text(json.dumps({"when": time.strftime("%Y-%m-%d"), "rows": rows}, indent=1) + "\n")
    return 0
