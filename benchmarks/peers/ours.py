"""ffn-mlir: a model that `ffnc compile` wrote."""
import sys

import numpy as np

from peers.graph import GraphEngine


class Engine(GraphEngine):
    def __init__(self, config):
        super().__init__(config)
        if config.get("package"):
            sys.path.insert(0, config["package"])
        import ffn_mlir
        self.module = ffn_mlir
        self.model = ffn_mlir.load(config["library"], threads=config["threads"])
        self.session = self.model.session(config["threads"])

    def info(self):
        said = self.model.info
        return {"engine": "ffn-mlir", "version": said.producer, "level": said.level, "numerics": said.numerics,
                "weight_bytes": said.weight_bytes, "threads": self.config["threads"], "precision": self.config["precision"],
                "compile": self.config.get("compile")}

    def evaluate(self, inputs):
        return self.session.run(inputs)

    def bind(self, inputs):
        self.inputs = inputs
        self.outputs = {name: np.zeros(shape, np.float32) for name, shape in self.shapes(inputs).items()}

    def run(self):
        self.session.run(self.inputs, out=self.outputs)

    def output(self):
        return self.compared(next(iter(self.outputs.values())))
