#!/usr/bin/env python3
"""Train pycode-lm on the text of the CPython standard library.

    train.py --minutes 75                 train for 75 minutes, then stop
    train.py --minutes 75 --resume        go on from the last checkpoint
    train.py --steps 4000                 the same schedule over counted steps

The learning rate follows the share of the budget that is used up, not the
step number: it is constant, then falls linearly to zero exactly when the time
is over, however many tokens the machine gets through until then. Time spent
in earlier runs that were resumed counts. With --steps the budget is a number
of steps, and a run is reproducible from its seed on one machine.

Matrices inside the layers are trained with Muon (momentum whose update is
orthogonalised by a Newton-Schulz iteration), the embedding and the norm gains
with AdamW. Checkpoints go to OUT/checkpoint.pt, one line of log for every
--log-every steps to OUT/log.jsonl.
"""
import argparse
import json
import math
import os
import random
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import corpus
from model import Config, PycodeLM


def orthogonalise(g, steps=5):
    """Nearest semi-orthogonal matrix, roughly, for each matrix of a batch."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """Muon with decoupled weight decay; matrices of one shape go together."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.1):
        super().__init__(params, dict(lr=lr, momentum=momentum,
                                      weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                by_shape.setdefault(tuple(p.shape), []).append(p)
            for (rows, cols), params in by_shape.items():
                updates = []
                for p in params:
                    m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    m.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(m, group["momentum"]))
                scale = max(1.0, rows / cols) ** 0.5
                for p, u in zip(params, orthogonalise(torch.stack(updates))):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(u, alpha=-group["lr"] * scale)


class Windows:
    """Endless shuffled windows over the shuffled files of the corpus."""

    def __init__(self, items, seed):
        self.items = items
        self.rng = random.Random(seed)
        self.epoch = -1
        self.order, self.pos, self.length = [], 0, 0

    def new_epoch(self, length):
        self.epoch += 1
        self.pos, self.length = 0, length
        items = list(self.items)
        self.rng.shuffle(items)
        self.data = np.frombuffer(corpus.join(items), dtype=np.uint8)
        start = self.rng.randrange(length)
        self.order = list(range(start, len(self.data) - length - 1, length))
        self.rng.shuffle(self.order)

    def relength(self, length):
        """Cut what is left of the epoch anew, into longer windows."""
        ratio = length // self.length
        left = {o // length for o in self.order[self.pos:]}
        self.rng.shuffle(keep := sorted(left))
        keep = keep[:max(1, (len(self.order) - self.pos) // ratio)]
        self.order = [k * length for k in keep if (k + 1) * length < len(self.data)]
        self.pos, self.length = 0, length

    def batch(self, count, length):
        """int64 [count, length + 1]"""
        if self.length and length > self.length:
            self.relength(length)
        if self.pos + count > len(self.order):
            self.new_epoch(length)
        rows = self.order[self.pos:self.pos + count]
        self.pos += count
        return torch.from_numpy(np.stack([self.data[o:o + length + 1] for o in rows])
                                .astype(np.int64))


def loss_of(model, ids, bf16):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(ids[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())


@torch.no_grad()
def bits_per_byte(model, text, length, bf16):
    """Over disjoint windows of `length` bytes; for watching the training."""
    data = torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype(np.int64))
    rows = (len(data) - 1) // length
    ids = torch.stack([data[i * length:i * length + length + 1] for i in range(rows)])
    total = sum(loss_of(model, part, bf16).item() * len(part) for part in ids.split(8))
    return total / rows / math.log(2)


def parse_lengths(text):
    """'0:256,0.5:512' -> [(0.0, 256), (0.5, 512)]"""
    return sorted((float(a), int(b)) for a, b in (p.split(":") for p in text.split(",")))


def factor(share, hold):
    """Learning rate factor at a share of the budget."""
    if share <= hold:
        return 1.0
    return max(0.0, (1.0 - share) / (1.0 - hold))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--out", default="build/pycode-lm", help="folder for checkpoint and log")
    ap.add_argument("--minutes", type=float, default=75.0, help="time budget")
    ap.add_argument("--steps", type=int, default=0, help="budget in steps instead of minutes")
    ap.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--batch-tokens", type=int, default=4096)
    ap.add_argument("--lengths", default="0:256,0.5:512,0.85:1024",
                    help="window length from each share of the budget on")
    ap.add_argument("--hold", type=float, default=0.35,
                    help="share of the budget before the learning rate falls")
    ap.add_argument("--lr", type=float, default=3e-3, help="AdamW")
    ap.add_argument("--muon-lr", type=float, default=0.02)
    ap.add_argument("--weight-decay", type=float, default=0.1)
    ap.add_argument("--warmup", type=int, default=60, help="steps")
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--f32", action="store_true", help="no bf16 autocast")
    ap.add_argument("--save-every", type=float, default=300.0, help="seconds")
    ap.add_argument("--log-every", type=int, default=20)
    args = ap.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)
    path = os.path.join(args.out, "checkpoint.pt")
    lengths = parse_lengths(args.lengths)
    sets = corpus.split()
    watch = corpus.join(sets["validation"])[:32769]

    model = PycodeLM(Config())
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = Muon(matrices, args.muon_lr, weight_decay=args.weight_decay)
    adamw = torch.optim.AdamW(others, args.lr, betas=(0.9, 0.98), weight_decay=0.0)
    windows = Windows(sets["training"], args.seed)
    step, tokens, spent = 0, 0, 0.0
    if args.resume:
        state = torch.load(path, weights_only=False)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adamw.load_state_dict(state["adamw"])
        windows.__dict__.update(state["windows"])
        step, tokens, spent = state["step"], state["tokens"], state["spent"]
    began = time.monotonic() - spent
    log = open(os.path.join(args.out, "log.jsonl"), "a" if args.resume else "w")

    def note(**row):
        print(json.dumps(row), file=log, flush=True)
        print(" ".join(f"{k}={v}" for k, v in row.items()), file=sys.stderr, flush=True)

    def save(share):
        state = dict(model=model.state_dict(), muon=muon.state_dict(),
                     adamw=adamw.state_dict(), config=model.cfg.to_dict(), step=step,
                     tokens=tokens, spent=time.monotonic() - began, share=share,
                     arguments=vars(args), torch=torch.__version__,
                     python=sys.version.split()[0], windows={
                         k: v for k, v in vars(windows).items() if k != "items"})
        torch.save(state, path + ".part")
        os.replace(path + ".part", path)
        bpb = bits_per_byte(model, watch, 512, not args.f32)
        note(step=step, spent=round(state["spent"]), validation_bpb=round(bpb, 4))

    note(parameters=sum(p.numel() for p in model.parameters()),
         training_bytes=sum(len(t) for _, t in sets["training"]), seed=args.seed)
    saved, mean = time.monotonic(), None
    while True:
        now = time.monotonic()
        share = step / args.steps if args.steps else (now - began) / (60 * args.minutes)
        if share >= 1.0:
            break
        length = [n for at, n in lengths if at <= share][-1]
        scale = factor(share, args.hold) * min(1.0, (step + 1) / args.warmup)
        muon.param_groups[0]["lr"] = args.muon_lr * scale
        adamw.param_groups[0]["lr"] = args.lr * scale
        ids = windows.batch(max(1, args.batch_tokens // length), length)
        loss = loss_of(model, ids, not args.f32)
        model.zero_grad(set_to_none=True)
        loss.backward()
        muon.step()
        adamw.step()
        step += 1
        tokens += ids.shape[0] * length
        value = loss.item() / math.log(2)
        if not math.isfinite(value):
            sys.exit(f"train.py: the loss is {value} at step {step}")
        mean = value if mean is None else 0.95 * mean + 0.05 * value
        if step % args.log_every == 0:
            note(step=step, share=round(share, 4), length=length, epoch=windows.epoch,
                 tokens=tokens, bpb=round(mean, 4),
                 tokens_per_s=round(ids.shape[0] * length / (time.monotonic() - now)))
        if time.monotonic() - saved > args.save_every:
            save(share)
            saved = time.monotonic()
    save(1.0)


if __name__ == "__main__":
    main()
