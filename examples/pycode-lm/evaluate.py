#!/usr/bin/env python3
"""Measure the exported pycode-lm graphs with ONNX Runtime.

    evaluate.py FOLDER [--name pycode-lm] [--json FILE]

Held-out bits per byte. Each held-out file is taken by itself: the separator
byte, then its bytes. A window of --window positions moves over it in steps of
--stride; the first window scores all the bytes it predicts, each later one
only those that no window before it has scored. Every byte of the text is
predicted exactly once, from at least window - stride bytes before it where the
file has them, and the separator is never scored. `xz -9e` compresses the same
files, sorted by name and joined without separators, as one stream, so it may
refer back to other held-out files while the network may not.

Syntax of generated text. --samples times, with seed 0, 1, 2, ...: the seed
picks a prompt from the held-out files, and 400 bytes are drawn one at a time at
temperature 0.7 from the whole distribution (without the separator byte, which
is no text). A prompt is the header of a function or class at the top level of
a held-out file and as many whole top-level statements before it as fit into
512 bytes. What is tested is prompt and continuation together, up to and
including the last newline of the continuation: only the line that the 400th
byte cuts in two is dropped, nothing is added. A text passes

  tokenize   if the tokenize module reads it to the end and yields no ERRORTOKEN
  ast.parse  if ast.parse accepts it

so a docstring, bracket or block header left open at the end is a failure. A
continuation without a newline fails both. This is the strict rule. A second
pair of figures, "whole lines", forgives the one thing that the cut at 400
bytes does to correct text most often: where tokenize reports that the text
ends inside a bracket or string, the text is cut after the last logical line
that is complete and tested again, if 200 bytes of the continuation are left.
Both pairs are printed for the network and, as the level that correct text
reaches under the same rules, for what really follows the prompt in its file.
"""
import argparse
import ast
import io
import json
import lzma
import math
import os
import random
import tokenize
import warnings

import numpy as np
import onnxruntime as ort

import corpus

PROMPT_BYTES = 512
KEEP_BYTES = 200
RULES = ("tokenize", "ast.parse", "tokenize, whole lines", "ast.parse, whole lines")


def session(path, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def windows(length, window, stride):
    """(start, first scored, end): positions of the inputs, of `length` predicted bytes."""
    start = scored = 0
    while scored < length:
        end = min(start + window, length)
        yield start, scored, end
        scored = end
        start += stride


def file_bits(plain, text, window, stride):
    """Bits that the network needs for the bytes of one file."""
    data = np.frombuffer(corpus.SEPARATOR + text, dtype=np.uint8).astype(np.int64)
    bits = 0.0
    for start, scored, end in windows(len(text), window, stride):
        logits = plain.run(None, {"input_ids": data[None, start:end]})[0][0, scored - start:]
        logits = logits.astype(np.float64)
        top = logits.max(-1)
        log_sum = top + np.log(np.exp(logits - top[:, None]).sum(-1))
        chosen = logits[np.arange(len(logits)), data[scored + 1:end + 1]]
        bits += (log_sum - chosen).sum() / math.log(2)
    return bits


def xz_bits_per_byte(texts):
    joined = b"".join(texts)
    packed = lzma.compress(joined, format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)
    return 8 * len(packed) / len(joined)


def prompts(text):
    """Every prompt of one file; see the docstring of the module."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return []
    lines = text.splitlines(keepends=True)

    def first_line(node):
        return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])

    found = []
    for i, node in enumerate(body):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        header_end = node.body[0].lineno - 1
        if header_end < node.lineno:
            continue
        begin = first_line(node)
        size = lambda at: len(b"".join(lines[at - 1:header_end]))
        for earlier in reversed(body[:i]):
            if size(first_line(earlier)) > PROMPT_BYTES:
                break
            begin = first_line(earlier)
        if size(begin) <= PROMPT_BYTES:
            found.append(b"".join(lines[begin - 1:header_end]))
    return found


class Generator:
    """Draws bytes from the graph with keys and values."""

    def __init__(self, cached):
        self.cached = cached
        self.names = [i.name for i in cached.get_inputs()[1:]]
        _, self.kv_heads, _, self.head_dim = cached.get_inputs()[1].shape

    def draw(self, prompt, count, temperature, seed):
        rng = np.random.default_rng(seed)
        ids = np.frombuffer(corpus.SEPARATOR + prompt, dtype=np.uint8).astype(np.int64)[None]
        past = [np.zeros((1, self.kv_heads, 0, self.head_dim), np.float32)] * len(self.names)
        out = bytearray()
        for _ in range(count):
            logits, *past = self.cached.run(
                None, {"input_ids": ids, **dict(zip(self.names, past))})
            scores = logits[0, -1].astype(np.float64) / temperature
            scores[corpus.SEPARATOR[0]] = -np.inf
            weight = np.exp(scores - scores.max())
            byte = int(rng.choice(len(weight), p=weight / weight.sum()))
            out.append(byte)
            ids = np.array([[byte]], dtype=np.int64)
        return bytes(out)


def tokenizes(text):
    try:
        return all(t.type != tokenize.ERRORTOKEN
                   for t in tokenize.tokenize(io.BytesIO(text).readline))
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        return False


def parses(text):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
        return True
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def whole_lines(text):
    """The text up to its last complete logical line, if it ends within one."""
    last = 0
    try:
        for t in tokenize.tokenize(io.BytesIO(text).readline):
            if t.type == tokenize.NEWLINE:
                last = t.end[0]
    except tokenize.TokenError as error:
        if "EOF in multi-line" in str(error):
            return b"".join(text.splitlines(keepends=True)[:last])
    except (SyntaxError, UnicodeDecodeError):
        pass
    return text


def judge(prompt, continuation):
    """{test: passed} for the four tests of RULES."""
    text = prompt + continuation[:continuation.rfind(b"\n") + 1]
    if len(text) == len(prompt):
        return dict.fromkeys(RULES, False)
    whole = whole_lines(text)
    enough = len(whole) - len(prompt) >= min(KEEP_BYTES, len(continuation) // 2)
    return dict(zip(RULES, (tokenizes(text), parses(text),
                            enough and tokenizes(whole), enough and parses(whole))))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("folder", help="folder of the graphs")
    ap.add_argument("--name", default="pycode-lm")
    ap.add_argument("--window", type=int, default=1024)
    ap.add_argument("--stride", type=int, default=512)
    ap.add_argument("--samples", type=int, default=50)
    ap.add_argument("--bytes", type=int, default=400)
    ap.add_argument("--temperature", type=float, default=0.7)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--no-text", action="store_true", help="skip bits per byte")
    ap.add_argument("--show", type=int, default=2, help="samples to print in full")
    ap.add_argument("--json", help="write the figures to this file")
    args = ap.parse_args()
    if not 0 < args.stride <= args.window:
        ap.error("--stride must be at least 1 and at most --window")
    held_out = corpus.split()["held-out"]
    figures = dict(window=args.window, stride=args.stride, packages={})

    if not args.no_text:
        plain = session(os.path.join(args.folder, args.name + ".onnx"), args.threads)
        print(f"{'held-out':<22}{'bytes':>9}{'model':>9}{'xz -9e':>9}  bits per byte")
        bits = {name: file_bits(plain, text, args.window, args.stride)
                for name, text in held_out}
        rows = [(p, (p,)) for p in corpus.HELD_OUT]
        rows += [("json+email+http", ("json", "email", "http")), ("all", corpus.HELD_OUT)]
        for label, packages in rows:
            chosen = [(n, t) for n, t in held_out if corpus.top(n) in packages]
            size = sum(len(t) for _, t in chosen)
            ours = sum(bits[n] for n, _ in chosen) / size
            xz = xz_bits_per_byte([t for _, t in chosen])
            figures["packages"][label] = dict(bytes=size, model=round(ours, 4), xz=round(xz, 4))
            print(f"{label:<22}{size:>9}{ours:>9.4f}{xz:>9.4f}")

    if args.samples:
        generator = Generator(session(os.path.join(args.folder, args.name + "-kv.onnx"),
                                      args.threads))
        files = dict(held_out)
        pool = [(n, p) for n, t in held_out for p in prompts(t)]
        good = {rule: [] for rule in RULES}
        real = dict.fromkeys(RULES, 0)
        for seed in range(args.samples):
            name, prompt = random.Random(seed).choice(pool)
            text = generator.draw(prompt, args.bytes, args.temperature, seed)
            at = files[name].index(prompt) + len(prompt)
            real_passed = judge(prompt, files[name][at:at + args.bytes])
            for rule, passed in judge(prompt, text).items():
                if passed:
                    good[rule].append(seed)
                real[rule] += real_passed[rule]
            if seed < args.show:
                shown = (prompt + text).decode("utf-8", "replace")
                print(f"--- seed {seed}, prompt of {len(prompt)} bytes from {name}\n{shown}\n---")
        print(f"{args.samples} continuations of {args.bytes} bytes at temperature "
              f"{args.temperature}, seeds 0 to {args.samples - 1}, {len(pool)} prompts to pick from")
        for rule, seeds in good.items():
            figures[rule] = dict(model=len(seeds), real=real[rule], samples=args.samples)
            print(f"{rule}: {len(seeds)} pass ({len(seeds) / args.samples:.0%}), "
                  f"of the real text {real[rule]}; seeds {' '.join(map(str, seeds))}")
    if args.json:
        with open(args.json, "w") as f:
            json.dump(figures, f, indent=1)


if __name__ == "__main__":
    main()
