"""What engines share that run an ONNX graph with keys and values."""
import numpy as np

import models


class GraphEngine:
    """Subclasses set `names` (of the outputs) and define `evaluate(inputs) -> dict` and `bind(inputs)`, `run()`.

    run() is what is timed: inputs lie in memory, outputs go to memory that is
    there already where the engine can do that.
    """

    def __init__(self, config):
        self.config = config
        self.spec = models.SPECS[config["model"]]

    def prepare(self, cell):
        self.cell = cell
        inputs = models.feeds(self.spec, cell)
        if self.spec.is_language_model and self.config.get("cached", True):
            if cell.what == "decode":
                ids = inputs["input_ids"]
                before = {"input_ids": np.ascontiguousarray(ids[:, :-1])} | models.empty_past(self.spec, cell.batch)
                present = self.evaluate(before)
                inputs = {"input_ids": np.ascontiguousarray(ids[:, -1:])}
                inputs |= {name.replace("present", "past_key_values"): np.array(value)
                           for name, value in present.items() if name.startswith("present")}
            else:
                inputs |= models.empty_past(self.spec, cell.batch)
        self.bind(inputs)

    def shapes(self, inputs):
        """Shapes of all outputs for these inputs."""
        spec, cell = self.spec, self.cell
        first = next(iter(inputs.values()))
        batch = first.shape[0]
        if spec.family == "vit":
            return {"logits": (batch, spec.vocabulary)}
        length = first.shape[1]
        if spec.family == "bert":
            return {"last_hidden_state": (batch, length, spec.width)}
        found = {"logits": (batch, 1 if cell.last else length, spec.vocabulary)}
        if "past_key_values.0.key" in inputs:
            total = inputs["past_key_values.0.key"].shape[2] + length
            for i in range(spec.layers):
                for part in ("key", "value"):
                    found[f"present.{i}.{part}"] = (batch, spec.kv_heads, total, spec.head)
        return found

    def compared(self, output):
        at = models.compared_positions(self.spec, self.cell)
        return np.array(output if at is None else output[:, at], np.float32)
