"""ONNX Runtime, all graph optimisations, spinning as it comes, outputs bound to memory that is there."""
import numpy as np

from peers.graph import GraphEngine


class Engine(GraphEngine):
    def __init__(self, config):
        super().__init__(config)
        import onnxruntime
        self.module = onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config["threads"]
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(config["graph"], options, providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_outputs()]

    def info(self):
        options = self.session.get_session_options()
        return {"engine": "ONNX Runtime", "version": self.module.__version__, "threads": options.intra_op_num_threads,
                "graph_optimization": options.graph_optimization_level.name, "providers": self.session.get_providers(),
                "precision": self.config["precision"], "form": self.config["form"]}

    def evaluate(self, inputs):
        return dict(zip(self.names, self.session.run(self.names, inputs)))

    def bind(self, inputs):
        shapes = self.shapes(inputs)
        self.outputs = {name: np.zeros(shapes[name], np.float32) for name in self.names}
        self.binding = self.session.io_binding()
        self.kept = inputs
        for name, value in inputs.items():
            self.binding.bind_cpu_input(name, value)
        for name, value in self.outputs.items():
            self.binding.bind_output(name, "cpu", 0, np.float32, value.shape, value.ctypes.data)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def output(self):
        return self.compared(next(iter(self.outputs.values())))
