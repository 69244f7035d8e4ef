#!/usr/bin/env python3
"""One engine in a process of its own: worker.py ENGINE REQUESTS ANSWERS (two file descriptors).

A request is a tuple, its answer ("ok", value) or ("error", text):
  ("load", config)   loads the model; what the engine says of itself, as a dictionary
  ("cell", cell)     makes the inputs of a cell, and for decode the tokens before; None
  ("output",)        runs once; the output that is compared, f32
  ("calls", n)       runs n times; the seconds of each
  ("stop",)          ends the process
"""
import importlib
import multiprocessing.connection
import os
import pathlib
import sys
import time
import traceback

# Not the folder of this file: its modules have the names of the packages that they use.
sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

ENGINES = {
    "ours": "peers.ours",
    "onnxruntime": "peers.onnx_runtime",
    "openvino": "peers.open_vino",
    "torch": "peers.torch_compile",
    "reference": "peers.torch_compile",
    "iree": "peers.iree",
    "llama.cpp": "peers.llama_cpp",
    "read": "peers.read",
}


def serve(requests, answers, name):
    engine = None
    while True:
        kind, *arguments = requests.recv()
        if kind == "stop":
            return
        try:
            value = None
            if kind == "load":
                config = arguments[0]
                begin = time.perf_counter()
                engine = importlib.import_module(ENGINES[name]).Engine(config)
                value = {"load_seconds": time.perf_counter() - begin, "affinity": sorted(os.sched_getaffinity(0)), **engine.info()}
            elif kind == "cell":
                engine.prepare(*arguments)
            elif kind == "output":
                engine.run()
                value = engine.output()
            elif kind == "calls":
                value = []
                for _ in range(arguments[0]):
                    begin = time.perf_counter()
                    engine.run()
                    value.append(time.perf_counter() - begin)
            answers.send(("ok", value))
        except Exception as error:
            traceback.print_exc()
            answers.send(("error", f"{type(error).__name__}: {error}"[:2000]))


def main():
    name, requests, answers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Libraries print to stdout what belongs to stderr.
    os.dup2(2, 1)
    serve(multiprocessing.connection.Connection(requests, writable=False),
          multiprocessing.connection.Connection(answers, readable=False), name)


if __name__ == "__main__":
    main()
