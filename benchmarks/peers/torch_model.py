"""The models of models.py as a PyTorch module, in f32, bf16 or f64."""
import torch
from torch import nn
from torch.nn import functional

import models


class Model(nn.Module):
    """forward(*inputs) -> (output, keys and values); inputs as in the graph, past as one list of tensors."""

    def __init__(self, spec, weights, dtype, last=False):
        super().__init__()
        self.spec, self.last = spec, last
        self.epsilon = models.EPSILON[spec.family]
        self.w = nn.ParameterDict()
        for name in weights.entries:
            value = torch.from_numpy(weights[name].copy()).to(dtype)
            # Linear layers keep [out, in], the layout that inductor packs.
            self.w[name.replace(".", "_")] = nn.Parameter(value.T.contiguous() if name.endswith(".weight") else value, requires_grad=False)

    def weight(self, name):
        return self.w[name.replace(".", "_")]

    def linear(self, x, name):
        bias = f"{name}.bias".replace(".", "_")
        return functional.linear(x, self.weight(f"{name}.weight"), self.w[bias] if bias in self.w else None)

    def norm(self, x, name):
        gain = self.weight(f"{name}.gain")
        if self.spec.family == "llama":
            return functional.rms_norm(x, (x.shape[-1],), gain, self.epsilon)
        return functional.layer_norm(x, (x.shape[-1],), gain, self.weight(f"{name}.bias"), self.epsilon)

    def feed_forward(self, x, i):
        up = self.linear(x, f"{i}.up")
        if self.spec.family == "llama":
            up = functional.silu(self.linear(x, f"{i}.gate")) * up
        else:
            up = functional.gelu(up, approximate="tanh" if self.spec.family == "gpt2" else "none")
        return self.linear(up, f"{i}.down")

    def rotate(self, x):
        low, high = x.chunk(2, -1)
        return x * self.cos + torch.cat((-high, low), -1) * self.sin

    def attention(self, x, i, past, present):
        spec, (batch, length, _) = self.spec, x.shape
        if spec.family == "gpt2":
            parts = self.linear(x, f"{i}.qkv").split(spec.width, 2)
        else:
            parts = [self.linear(x, f"{i}.{part}") for part in "qkv"]
        q, k, v = (part.view(batch, length, -1, spec.head).transpose(1, 2) for part in parts)
        if spec.family == "llama":
            q, k = self.rotate(q), self.rotate(k)
        if spec.is_language_model:
            if past is not None:
                k, v = torch.cat((past[2 * i], k), 2), torch.cat((past[2 * i + 1], v), 2)
            present += [k, v]
        causal = spec.is_language_model and past is None
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, is_causal=causal,
                                                    enable_gqa=spec.kv_heads != spec.heads)
        return self.linear(y.transpose(1, 2).reshape(batch, length, spec.width), f"{i}.o")

    def forward(self, inputs, past=None):
        spec = self.spec
        self.mask, present = None, []
        if spec.family == "vit":
            pixels = inputs["pixel_values"]
            x = pixels.reshape(-1, 3, 14, 16, 14, 16).permute(0, 2, 4, 1, 3, 5).reshape(-1, 196, 768)[..., :spec.width]
            x = self.linear(x, "patch")
            x = torch.cat((self.weight("class_token").expand(x.shape[0], -1, -1), x), 1) + self.weight("positions")
        else:
            ids = inputs["input_ids"]
            x = functional.embedding(ids, self.weight("embedding"))
            length, before = ids.shape[1], 0 if past is None else past[0].shape[2]
        if spec.family == "bert":
            x = x + functional.embedding(inputs["token_type_ids"], self.weight("token_types")) + self.weight("positions")[:length]
            x = self.norm(x, "embedding_norm")
            self.mask = inputs["attention_mask"][:, None, None, :].bool()
        if spec.family == "gpt2":
            x = x + self.weight("positions")[before:before + length]
        if spec.family == "llama":
            exact = torch.float64 if x.dtype == torch.float64 else torch.float32
            half = torch.arange(0, spec.head, 2, dtype=torch.float64)
            # As in the graph: frequencies are constants in f32.
            frequencies = (1.0 / models.ROPE_THETA ** (half / spec.head)).float().to(exact)
            angles = torch.arange(before, before + length, dtype=exact)[:, None] * frequencies
            angles = torch.cat((angles, angles), -1)
            self.cos, self.sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for i in range(spec.layers):
            if spec.family == "bert":
                x = self.norm(self.attention(x, i, past, present) + x, f"{i}.norm_1")
                x = self.norm(self.feed_forward(x, i) + x, f"{i}.norm_2")
                continue
            x = x + self.attention(self.norm(x, f"{i}.norm_1"), i, past, present)
            x = x + self.feed_forward(self.norm(x, f"{i}.norm_2"), i)
        return x, present

    def head(self, x, positions=None):
        """Logits of hidden states, of all positions or of these."""
        spec = self.spec
        if spec.family == "bert":
            return x
        if positions is not None:
            x = x[:, positions]
        x = self.norm(x[:, -1:] if self.last else x, "norm")
        if spec.family == "vit":
            return self.linear(x[:, 0], "classes")
        return functional.linear(x, self.weight("embedding"))
