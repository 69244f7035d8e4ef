"""torch.compile with frozen weights; and, as "reference", the same function in eager float64.

The precision is that of weights and activations. Shapes are compiled as they
are, one program per cell, the fastest that inductor has.
"""
import os

import numpy as np

import models


class Engine:
    def __init__(self, config):
        import torch
        from peers.torch_model import Model
        self.torch, self.config = torch, config
        self.spec = models.SPECS[config["model"]]
        self.exact = config["precision"] == "f64"
        torch.set_num_threads(config["threads"])
        dtype = {"f64": torch.float64, "f32": torch.float32, "bf16": torch.bfloat16}[config["precision"]]
        self.dtype = dtype
        weights = models.Weights(self.spec, config["folder"])
        self.model = Model(self.spec, weights, dtype, config.get("last", False)).eval()
        if not self.exact:
            import torch._inductor.config as inductor
            inductor.freezing = True

            def call(inputs, past):
                x, present = self.model(inputs, past)
                return self.model.head(x), present

            self.compiled = torch.compile(call, dynamic=False)

    def info(self):
        return {"engine": "torch.compile", "version": self.torch.__version__, "threads": self.torch.get_num_threads(),
                "onednn": self.torch.backends.mkldnn.is_available(), "precision": self.config["precision"],
                "freezing": not self.exact, "parameter_dtype": str(next(self.model.parameters()).dtype),
                "capability": self.torch.backends.cpu.get_cpu_capability()}

    def prepare(self, cell):
        torch = self.torch
        self.cell = cell
        inputs = {name: torch.from_numpy(value) for name, value in models.feeds(self.spec, cell).items()}
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        self.inputs, self.past = inputs, None
        if cell.what == "decode" and not self.exact:
            ids = inputs["input_ids"]
            with torch.no_grad():
                _, present = self.model({"input_ids": ids[:, :-1].contiguous()})
            self.past = [part.contiguous() for part in present]
            self.inputs = {"input_ids": ids[:, -1:].contiguous()}

    def run(self):
        with self.torch.no_grad():
            if self.exact:
                at = models.compared_positions(self.spec, self.cell)
                if self.cell.what == "decode" or self.cell.last:
                    at = [-1]
                x, _ = self.model(self.inputs)
                self.result = self.model.head(x, None if at is None else self.torch.tensor(at))
            else:
                self.result, self.present = self.compiled(self.inputs, self.past)

    def output(self):
        if self.exact:
            return self.result.numpy()
        at = models.compared_positions(self.spec, self.cell)
        y = self.result if at is None else self.result[:, self.torch.from_numpy(np.asarray(at))]
        return y.float().numpy()
