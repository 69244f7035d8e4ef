"""The LLaMA-style network of pycode-lm, in PyTorch, for training."""
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass(frozen=True)
class Config:
    """Sizes of the network. The defaults are those of the published model."""
    dim: int = 256
    layers: int = 8
    heads: int = 8
    kv_heads: int = 4
    hidden: int = 640
    vocab: int = 256
    eps: float = 1e-5
    rope_theta: float = 10000.0

    @property
    def head_dim(self):
        return self.dim // self.heads

    def to_dict(self):
        return asdict(self)


class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        x = x.float()
        inv = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (x * inv)


def rope_tables(cfg, length, device=None):
    """cos and sin, [length, head_dim], for the rotate-half form."""
    half = torch.arange(0, cfg.head_dim, 2, dtype=torch.float64)
    inv_freq = (1.0 / cfg.rope_theta ** (half / cfg.head_dim)).float()
    angles = torch.arange(length, dtype=torch.float32)[:, None] * inv_freq
    angles = torch.cat([angles, angles], -1)
    return angles.cos().to(device), angles.sin().to(device)


def rotate(x, cos, sin):
    lo, hi = x.chunk(2, -1)
    return x * cos + torch.cat([-hi, lo], -1) * sin


def causal_attention(q, k, v, block=128):
    """Causal softmax attention, a block of queries at a time.

    The same function as F.scaled_dot_product_attention(is_causal=True). On a
    CPU with head dimension 32 the blocks are about 1.6 times faster forward
    and backward, because the fused backward kernel is slow there.
    """
    q = q * q.shape[-1] ** -0.5
    k = k.transpose(-1, -2)
    out = []
    for i in range(0, q.shape[-2], block):
        s = q[:, :, i:i + block] @ k[:, :, :, :i + block]
        n = s.shape[-2]
        s = s + torch.full((n, i + n), float("-inf"), dtype=s.dtype,
                           device=s.device).triu(i + 1)
        out.append(torch.softmax(s, -1, dtype=s.dtype) @ v[:, :, :i + block])
    return torch.cat(out, -2)


class Attention(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        kv = cfg.kv_heads * cfg.head_dim
        self.q_proj = nn.Linear(cfg.dim, cfg.heads * cfg.head_dim, bias=False)
        self.k_proj = nn.Linear(cfg.dim, kv, bias=False)
        self.v_proj = nn.Linear(cfg.dim, kv, bias=False)
        self.o_proj = nn.Linear(cfg.heads * cfg.head_dim, cfg.dim, bias=False)

    def forward(self, x, cos, sin):
        c = self.cfg
        batch, length, _ = x.shape
        q = self.q_proj(x).view(batch, length, c.heads, c.head_dim)
        k = self.k_proj(x).view(batch, length, c.kv_heads, c.head_dim)
        v = self.v_proj(x).view(batch, length, c.kv_heads, c.head_dim)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        rep = c.heads // c.kv_heads
        k = k.repeat_interleave(rep, 1)
        v = v.repeat_interleave(rep, 1)
        o = causal_attention(q, k, v)
        return self.o_proj(o.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.gate_proj = nn.Linear(cfg.dim, cfg.hidden, bias=False)
        self.up_proj = nn.Linear(cfg.dim, cfg.hidden, bias=False)
        self.down_proj = nn.Linear(cfg.hidden, cfg.dim, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.input_layernorm = RMSNorm(cfg.dim, cfg.eps)
        self.self_attn = Attention(cfg)
        self.post_attention_layernorm = RMSNorm(cfg.dim, cfg.eps)
        self.mlp = MLP(cfg)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.embed_tokens = nn.Embedding(cfg.vocab, cfg.dim)
        self.layers = nn.ModuleList(Layer(cfg) for _ in range(cfg.layers))
        self.norm = RMSNorm(cfg.dim, cfg.eps)


class PycodeLM(nn.Module):
    """Byte-level decoder; the output head is the embedding matrix."""

    def __init__(self, cfg=Config()):
        super().__init__()
        self.cfg = cfg
        self.model = Decoder(cfg)
        scale = (2 * cfg.layers) ** -0.5
        for name, p in self.named_parameters():
            if p.ndim == 2:
                std = 0.02 if "embed" in name else p.shape[1] ** -0.5 / 2
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    std *= scale
                nn.init.normal_(p, std=std)

    def forward(self, ids):
        """ids [batch, length] -> logits [batch, length, vocab]."""
        cos, sin = rope_tables(self.cfg, ids.shape[1], ids.device)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)
