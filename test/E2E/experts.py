"""Networks of experts as text of the ffn dialect, and what they compute, in NumPy."""
import dataclasses
import math

import numpy as np

ERF = np.vectorize(math.erf, otypes=[np.float64])
ACTIVATIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "gelu_erf": lambda z: z / 2 * (1 + ERF(z / math.sqrt(2))),
    "identity": lambda z: z,
}


@dataclasses.dataclass
class Experts:
    """An `ffn.moe` with random weights. `width`: of one expert; `shared`: neurons."""

    d: int
    width: int
    experts: int
    top_k: int
    shared: int = 0
    out: int | None = None
    gated: bool = True
    biased: bool = False
    router: str = "neuron"
    activation: str = "silu"
    gating: str = "softmax"
    weighted: bool = False
    normalize: bool = False
    scale: float = 1.0
    selection: bool = False
    seed: int = 0

    def __post_init__(self):
        self.out = self.out or self.d
        generator = np.random.default_rng(self.seed)
        draw = lambda *shape: (generator.standard_normal(shape) / math.sqrt(shape[-1])).astype(np.float32)
        m = self.m
        self.weights = {"up": draw(m, self.d)}
        if self.gated:
            self.weights["gate"] = draw(m, self.d)
        self.weights["down"] = draw(self.out, m)
        if self.biased:
            self.weights["up_bias"] = draw(m)
            if self.gated:
                self.weights["gate_bias"] = draw(m)
            self.weights["down_bias"] = draw(self.out)
        self.weights["router"] = draw(self.experts, self.d)
        if self.gated and self.router == "neuron":
            self.weights["router_gate"] = draw(self.experts, self.d)
        if self.biased:
            self.weights["router_bias"] = draw(self.experts)
            if "router_gate" in self.weights:
                self.weights["router_gate_bias"] = draw(self.experts)
        if self.selection:
            self.weights["selection_bias"] = draw(self.experts)

    @property
    def m(self):
        return self.shared + self.experts * self.width

    def to_mlir(self, residual=False):
        """A module whose @main is x -> y, behind a residual where that is asked for."""
        lines, types = [], []
        for name, value in self.weights.items():
            types.append(f"tensor<{'x'.join(map(str, value.shape))}xf32>")
            lines.append(f'    %{name} = ffn.weight dense<"0x{value.tobytes().hex()}"> : {types[-1]}')
        words = " ".join(f"{name if name != 'router' else 'router ' + self.router} %{name}" for name in self.weights)
        words += f" shared {self.shared} experts {self.experts} top_k {self.top_k} gating {self.gating}"
        words += " weighted" * self.weighted + " normalize" * self.normalize + (f" scale {self.scale:e}" if self.scale != 1 else "")
        x, y = f"tensor<?x{self.d}xf32>", f"tensor<?x{self.out}xf32>"
        call = f"ffn.moe {self.activation} %x {words} : ({', '.join([x, *types])}) -> {y}"
        if residual:
            body = [f'    %y = ffn.sublayer [#ffn.addend<moe "mlp">] (%a) : ({x}) -> {x} {{', f"    ^bb0(%x: {x}):", f"      %f = {call}", f"      ffn.yield %f : {y}", "    }"]
        else:
            body = [f"    %y = {call}"]
        name = "a" if residual else "x"
        return "\n".join([
            "module attributes {onnx.model = {opset_imports = {ai.onnx = 17 : i64}}} {",
            f'  func.func @main(%{name}: {x} {{onnx.name = "x", ffn.dims = ["n", {self.d}]}}) -> ({y} {{onnx.name = "y"}}) {{',
            *lines, *body, f"    return %y : {y}", "  }", "}", ""])

    def hidden(self, x, w, prefix, precise=np.float64):
        x, get = x.astype(precise), lambda name: self.weights[name].astype(precise) if name in self.weights else 0
        up, gate = ("router", "router_gate") if prefix == "router" else ("up", "gate")
        z = x @ get(up).T + get(f"{up}_bias")
        if gate not in self.weights:
            return z if prefix == "router" and self.router == "linear" else ACTIVATIONS[self.activation](z)
        return ACTIVATIONS[self.activation](x @ get(gate).T + get(f"{gate}_bias")) * z

    def route(self, x):
        """Weights [tokens, experts] in float64, NaN where an expert is not chosen; and by how much
        the last chosen one beats the first that is not."""
        scores = self.hidden(x, self.weights, "router")
        if self.router == "neuron":
            scores = np.abs(scores)
        values = scores
        if self.gating == "sigmoid":
            values = 1 / (1 + np.exp(-scores))
        elif self.gating == "softmax":
            values = np.exp(scores - scores.max(-1, keepdims=True))
            values /= values.sum(-1, keepdims=True)
        keys = values + self.weights["selection_bias"].astype(np.float64) if self.selection else scores
        order = np.argsort(-keys, axis=-1, kind="stable")
        ranked = np.take_along_axis(keys, order, -1)
        margin = ranked[:, self.top_k - 1] - ranked[:, self.top_k] if self.top_k < self.experts else np.full(len(x), np.inf)
        weights = np.full(scores.shape, np.nan)
        chosen = order[:, :self.top_k]
        picked = np.take_along_axis(values, chosen, -1) if self.weighted else np.ones(chosen.shape)
        if self.normalize:
            picked = picked / picked.sum(-1, keepdims=True)
        np.put_along_axis(weights, chosen, self.scale * picked, -1)
        return weights, margin

    def spread(self, weights):
        """Weights of experts as weights of neurons; those of shared ones are 1, of the others 0."""
        return np.concatenate([np.ones((len(weights), self.shared)), np.repeat(np.nan_to_num(weights), self.width, axis=-1)], -1)

    def run(self, x):
        weights, margin = self.route(x)
        hidden = self.hidden(x, self.weights, "up") * self.spread(weights)
        down = self.weights["down"].astype(np.float64)
        y = hidden @ down.T + self.weights.get("down_bias", 0)
        return y, margin

    def bound(self, x):
        """Largest error of each element in f32: of the hidden layer, then of down, both as sums of rounded products."""
        unit = 2.0**-24
        weights, _ = self.route(x)
        a = np.abs(x.astype(np.float64))
        size = lambda name: np.abs(self.weights[name].astype(np.float64))
        bias = lambda name: size(name) if name in self.weights else 0
        up = a @ size("up").T + bias("up_bias")
        # All activations here have a slope below 1.2 and are computed to a few roundings.
        error = 1.2 * (self.d + 2) * unit * up + 16 * unit * up
        value = up
        if self.gated:
            gate = a @ size("gate").T + bias("gate_bias")
            error = (1.2 * (self.d + 2) + 20) * 2 * unit * up * gate
            value = up * gate
        spread = np.abs(self.spread(weights))
        if self.weighted:
            error = error + 64 * (self.d + 2) * unit * value
        active = self.shared + self.top_k * self.width
        magnitude = (value * spread) @ size("down").T + bias("down_bias")
        return (error * spread) @ size("down").T + (active + 4) * unit * magnitude + 1e-30
