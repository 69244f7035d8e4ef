"""Small transformers of our own in the shapes of the known families."""
import math

import torch
from torch import nn
from torch.nn import functional as F

D, HEADS, M, LAYERS, VOCAB = 32, 4, 96, 2, 50


class RMSNorm(nn.Module):
    def __init__(self, d, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def split_heads(x, heads):
    b, s, d = x.shape
    return x.view(b, s, heads, d // heads).transpose(1, 2)


def merge_heads(x):
    b, h, s, d = x.shape
    return x.transpose(1, 2).reshape(b, s, h * d)


class Attention(nn.Module):
    """Separate projections, additive mask or bias on the scores."""

    def __init__(self, bias, scaled=True):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(D, D, bias=bias) for _ in range(4))
        self.scale = 1 / math.sqrt(D // HEADS) if scaled else 1.0

    def forward(self, x, mask=None):
        q, k, v = (split_heads(f(x), HEADS) for f in (self.q_proj, self.k_proj, self.v_proj))
        scores = q @ k.transpose(-1, -2) * self.scale
        if mask is not None:
            scores = scores + mask
        return self.o_proj(merge_heads(torch.softmax(scores, -1) @ v))


class Bert(nn.Module):
    """Post-norm, LayerNorm, GELU by erf, all biases."""

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention(True)
            self.attention_norm = nn.LayerNorm(D, eps=1e-12)
            self.intermediate, self.output = nn.Linear(D, M), nn.Linear(M, D)
            self.output_norm = nn.LayerNorm(D, eps=1e-12)

        def forward(self, x, mask):
            x = self.attention_norm(x + self.attention(x, mask))
            return self.output_norm(x + self.output(F.gelu(self.intermediate(x))))

    def __init__(self):
        super().__init__()
        self.embeddings, self.positions = nn.Embedding(VOCAB, D), nn.Embedding(64, D)
        self.norm = nn.LayerNorm(D, eps=1e-12)
        self.layer = nn.ModuleList(self.Layer() for _ in range(LAYERS))
        self.pooler = nn.Linear(D, D)

    def forward(self, ids, attention_mask):
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -10000.0
        x = self.norm(self.embeddings(ids) + self.positions(torch.arange(ids.shape[1])))
        for layer in self.layer:
            x = layer(x, mask)
        return torch.tanh(self.pooler(x[:, 0]))


class Gpt2(nn.Module):
    """Pre-norm, LayerNorm, GELU by tanh, one projection for q, k and v, tied head."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(D), nn.LayerNorm(D)
            self.c_attn, self.c_proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
            self.c_fc, self.c_out = nn.Linear(D, M), nn.Linear(M, D)

        def forward(self, x):
            q, k, v = (split_heads(t, HEADS) for t in self.c_attn(self.ln_1(x)).split(D, -1))
            x = x + self.c_proj(merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=True)))
            return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))

    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, D), nn.Embedding(64, D)
        self.h = nn.ModuleList(self.Block() for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(D)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


class T5(nn.Module):
    """Pre-norm, RMS, unscaled attention with a position bias, no biases; a ReLU
    network in the first layer and a gated GELU in the second, as in v1.1."""

    class Layer(nn.Module):
        def __init__(self, gated):
            super().__init__()
            self.attention, self.attention_norm = Attention(False, scaled=False), RMSNorm(D, 1e-6)
            self.wi, self.wo = nn.Linear(D, M, bias=False), nn.Linear(M, D, bias=False)
            self.wi_gate = nn.Linear(D, M, bias=False) if gated else None
            self.ff_norm = RMSNorm(D, 1e-6)

        def forward(self, x, bias):
            x = x + self.attention(self.attention_norm(x), bias)
            h = self.ff_norm(x)
            h = torch.relu(self.wi(h)) if self.wi_gate is None else F.gelu(self.wi_gate(h), approximate="tanh") * self.wi(h)
            return x + self.wo(h)

    def __init__(self):
        super().__init__()
        self.shared = nn.Embedding(VOCAB, D)
        self.relative_attention_bias = nn.Embedding(8, HEADS)
        self.block = nn.ModuleList(self.Layer(gated) for gated in (False, True))
        self.final_norm = RMSNorm(D, 1e-6)

    def forward(self, ids):
        position = torch.arange(ids.shape[1])
        distance = (position[None, :] - position[:, None]).clamp(-4, 3) + 4
        bias = self.relative_attention_bias(distance).permute(2, 0, 1)[None]
        x = self.shared(ids)
        for layer in self.block:
            x = layer(x, bias)
        return self.final_norm(x)


class Vit(nn.Module):
    """Patches by convolution, a class token, pre-norm, GELU by erf."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(D, eps=1e-6), nn.LayerNorm(D, eps=1e-6)
            self.qkv, self.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
            self.fc1, self.fc2 = nn.Linear(D, M), nn.Linear(M, D)

        def forward(self, x):
            b, s, _ = x.shape
            q, k, v = self.qkv(self.norm1(x)).reshape(b, s, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
            weights = torch.softmax(q * (D // HEADS) ** -0.5 @ k.transpose(-2, -1), -1)
            x = x + self.proj((weights @ v).transpose(1, 2).reshape(b, s, D))
            return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, D, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, D))
        self.positions = nn.Parameter(torch.randn(1, 17, D))
        self.blocks = nn.ModuleList(self.Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(D, eps=1e-6), nn.Linear(D, 10)

    def forward(self, image):
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Llama(nn.Module):
    """Pre-norm, RMS, RoPE, grouped keys and values, SwiGLU, no biases."""

    KV = 2

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            width = D // HEADS * Llama.KV
            self.q_proj, self.o_proj = nn.Linear(D, D, bias=False), nn.Linear(D, D, bias=False)
            self.k_proj, self.v_proj = nn.Linear(D, width, bias=False), nn.Linear(D, width, bias=False)
            self.gate_proj, self.up_proj = nn.Linear(D, M, bias=False), nn.Linear(D, M, bias=False)
            self.down_proj = nn.Linear(M, D, bias=False)
            self.input_norm, self.post_norm = RMSNorm(D), RMSNorm(D)

        def forward(self, x, cos, sin):
            def rotate(t):
                a, b = t.chunk(2, -1)
                return t * cos + torch.cat([-b, a], -1) * sin

            h = self.input_norm(x)
            q, k, v = split_heads(self.q_proj(h), HEADS), split_heads(self.k_proj(h), Llama.KV), split_heads(self.v_proj(h), Llama.KV)
            k, v = (t.repeat_interleave(HEADS // Llama.KV, 1) for t in (rotate(k), v))
            x = x + self.o_proj(merge_heads(F.scaled_dot_product_attention(rotate(q), k, v, is_causal=True)))
            h = self.post_norm(x)
            return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))

    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, D)
        self.layers = nn.ModuleList(self.Layer() for _ in range(LAYERS))
        self.norm, self.lm_head = RMSNorm(D), nn.Linear(D, VOCAB, bias=False)
        size = D // HEADS
        self.register_buffer("frequencies", 1 / 10000 ** (torch.arange(0, size, 2) / size))

    def forward(self, ids):
        angles = torch.arange(ids.shape[1])[:, None] * self.frequencies
        cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.lm_head(self.norm(x))


FAMILIES = {"bert": Bert, "gpt2": Gpt2, "t5": T5, "vit": Vit, "llama": Llama}
EXPORTERS = ("torchscript", "dynamo")


def example_inputs(family):
    """Names and tensors of the inputs."""
    generator = torch.Generator().manual_seed(1)
    if family == "vit":
        return {"image": torch.randn(2, 3, 16, 16, generator=generator)}
    ids = torch.randint(0, VOCAB, (2, 7), generator=generator)
    if family == "bert":
        return {"ids": ids, "attention_mask": torch.tensor([[1] * 7, [1] * 5 + [0] * 2])}
    return {"ids": ids}


def export(family, exporter, path):
    """Writes the module with seeded weights; returns its inputs as arrays."""
    torch.manual_seed(0)
    module = FAMILIES[family]().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name or "ln_" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    inputs = example_inputs(family)
    axes = {0: "batch"} if family == "vit" else {0: "batch", 1: "sequence"}
    arguments = {"input_names": list(inputs), "output_names": ["y"]}
    if exporter == "torchscript":
        torch.onnx.export(module, tuple(inputs.values()), str(path), dynamo=False, opset_version=17, dynamic_axes={name: axes for name in inputs}, **arguments)
    else:
        batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
        shapes = {name: {0: batch} if family == "vit" else {0: batch, 1: sequence} for name in inputs}
        torch.onnx.export(module, tuple(inputs.values()), str(path), dynamo=True, external_data=False, dynamic_shapes=shapes, verbose=False, **arguments)
    return {name: value.numpy() for name, value in inputs.items()}
