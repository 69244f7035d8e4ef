"""OpenVINO, latency hint, one stream, precision hint equal to the precision of the row.

int8 and int4 are compressed weights (a scale per column; groups of 128); the plugin then rounds
activations to int8 itself, in the groups that it chooses, as is its default.
"""
from peers.graph import GraphEngine


class Engine(GraphEngine):
    def __init__(self, config):
        super().__init__(config)
        import openvino
        from openvino import properties
        self.module, self.properties = openvino, properties
        core = openvino.Core()
        hint = openvino.Type.bf16 if config["precision"] == "bf16" else openvino.Type.f32
        settings = {
            properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
            properties.hint.inference_precision: hint,
            properties.inference_num_threads: config["threads"],
            properties.num_streams: 1,
            properties.hint.enable_cpu_pinning: False,
        }
        self.model = core.compile_model(core.read_model(config["graph"]), "CPU", settings)
        self.request = self.model.create_infer_request()

    def info(self):
        of = self.model.get_property
        hint = of(self.properties.hint.inference_precision).get_type_name()
        found = {"engine": "OpenVINO", "version": self.module.__version__, "threads": of(self.properties.inference_num_threads),
                 "precision_hint": hint, "streams": of(self.properties.num_streams), "precision": self.config["precision"],
                 "performance_mode": str(of(self.properties.hint.performance_mode)), "form": self.config["form"]}
        for name in ("DYNAMIC_QUANTIZATION_GROUP_SIZE", "KV_CACHE_PRECISION", "ENABLE_HYPER_THREADING"):
            try:
                found[name.lower()] = str(of(name))
            except RuntimeError:
                pass
        return found

    def evaluate(self, inputs):
        results = self.request.infer(inputs, share_inputs=True)
        return {output.get_any_name(): value for output, value in results.items()}

    def bind(self, inputs):
        self.inputs = inputs

    def run(self):
        self.results = self.request.infer(self.inputs, share_inputs=True, share_outputs=True)

    def output(self):
        return self.compared(self.results[0])
