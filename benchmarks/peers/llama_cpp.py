"""llama.cpp through its C interface; keys and values in its default type, logits of all tokens or of the last."""
import ctypes
import importlib.metadata

import numpy as np

import models

KINDS = {"f32": "f32", "bf16": "bf16", "int8": "q8_0", "int4": "q4_0"}
# Bits per weight, scales included.
BITS = {"f32": 32, "bf16": 16, "q8_0": 8.5, "q4_0": 4.5}


class Engine:
    def __init__(self, config):
        import llama_cpp
        self.c, self.config = llama_cpp, config
        self.spec = models.SPECS[config["model"]]
        llama_cpp.llama_backend_init()
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        parameters = llama_cpp.llama_model_default_params()
        parameters.use_mmap = True
        self.model = llama_cpp.llama_model_load_from_file(config["gguf"].encode(), parameters)
        if not self.model:
            raise RuntimeError(f"{config['gguf']} does not load")
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = 2048, 512, 512
        settings.n_threads = settings.n_threads_batch = config["threads"]
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        if not self.context:
            raise RuntimeError("no context")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.settings = settings

    def info(self):
        kind = KINDS[self.config["precision"]]
        return {"engine": "llama.cpp", "version": "llama-cpp-python " + importlib.metadata.version("llama-cpp-python"),
                "threads": self.c.llama_n_threads(self.context), "precision": self.config["precision"], "type": kind, "bits_per_weight": BITS[kind],
                "system": self.c.llama_print_system_info().decode(), "cache_types": [self.settings.type_k, self.settings.type_v]}

    def _batch(self, ids, begin, last):
        batch = self.c.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(token), begin + i, 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = not last or i == len(ids) - 1
        return batch

    def _decode(self, batch):
        if code := self.c.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode gives {code}")
        self.c.llama_synchronize(self.context)

    def prepare(self, cell):
        if cell.batch != 1:
            raise ValueError("batch 1 only")
        self.cell = cell
        ids = models.feeds(self.spec, cell)["input_ids"][0]
        self.begin = 0
        self.c.llama_memory_clear(self.memory, True)
        if cell.what == "decode":
            self.begin = cell.length
            for at in range(0, cell.length, 512):
                self._decode(self._batch(ids[at:min(at + 512, cell.length)], at, True))
            ids = ids[-1:]
        self.batch = self._batch(ids, self.begin, cell.last or cell.what == "decode")

    def run(self):
        # Takes back what the last run appended; a few microseconds.
        self.c.llama_memory_seq_rm(self.memory, 0, self.begin, -1)
        self._decode(self.batch)

    def output(self):
        at = models.compared_positions(self.spec, self.cell)
        rows = [self.batch.n_tokens - 1] if at is None else at
        return np.stack([np.ctypeslib.as_array(self.c.llama_get_logits_ith(self.context, int(i)), (self.spec.vocabulary,)) for i in rows])[None].copy()
