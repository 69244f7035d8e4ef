"""IREE on the CPU, compiled for this machine and for fixed shapes, as its ONNX users do it.

A prefill has no cache here: IREE computes less than the others, not more.
"""
import pathlib
import subprocess
import sys

import numpy as np

import models

FLAGS = ["--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host",
         "--iree-opt-level=O3", "--iree-opt-data-tiling", "--iree-llvmcpu-stack-allocation-limit=262144"]


def build(graph):
    """The compiled module beside the graph."""
    module = pathlib.Path(graph).with_suffix(".vmfb")
    if not module.exists():
        folder = pathlib.Path(sys.executable).parent
        text = module.with_suffix(".mlir")
        subprocess.run([folder / "iree-import-onnx", graph, "-o", text], check=True)
        subprocess.run([folder / "iree-compile", text, "-o", module, *FLAGS], check=True)
        text.unlink()
    return module


class Engine:
    def __init__(self, config):
        from iree import runtime
        self.runtime, self.config = runtime, config
        self.spec = models.SPECS[config["model"]]
        runtime.flags.parse_flags(f"--task_topology_group_count={config['threads']}")

    def info(self):
        import importlib.metadata
        return {"engine": "IREE", "version": importlib.metadata.version("iree-base-compiler"), "threads": self.config["threads"],
                "flags": FLAGS, "precision": self.config["precision"]}

    def prepare(self, cell):
        self.cell = cell
        if cell.what == "decode":
            raise ValueError("only prefill is measured")
        length = self.spec.positions if self.spec.family == "vit" else cell.length
        graph = models.onnx_path(self.spec, self.config["folder"], fixed=(cell.batch, length))
        config = self.runtime.Config("local-task")
        module = self.runtime.VmModule.mmap(config.vm_instance, str(build(str(graph))))
        context = self.runtime.SystemContext(config=config)
        context.add_vm_module(module)
        self.function = next(getattr(context.modules[module.name], name) for name in module.function_names if not name.startswith("_") and not name.endswith("$async"))
        device = config.device
        self.inputs = [self.runtime.asdevicearray(device, value) for value in models.feeds(self.spec, cell).values()]

    def run(self):
        result = self.function(*self.inputs)
        self.result = result.to_host()

    def output(self):
        at = models.compared_positions(self.spec, self.cell)
        return np.array(self.result if at is None else self.result[:, at], np.float32)
