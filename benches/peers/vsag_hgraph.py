"""VSAG's HGraph: 8-bit codes in the graph, f32 for the last candidates. Parameters `m` (the degree), `ef_construction`; the setting
`ef`."""

import importlib.metadata
import json

import numpy as np
import pyvsag
from engine import OneByOne, few_rows

METRICS = {"L2": "l2", "InnerProduct": "ip", "Cosine": "cosine"}
threads = 1


def versions():
    return {"pyvsag": importlib.metadata.version("pyvsag")}


def set_threads(count):
    global threads
    threads = count


class Engine(OneByOne):
    def __init__(self, base, metric, parameters):
        pyvsag.set_logger_off()
        self.dimension = base.shape[1]
        index = {
            "base_quantization_type": "sq8_uniform" if metric == "L2" else "sq8",
            "use_reorder": True,
            "precise_quantization_type": "fp32",
            "max_degree": parameters.get("m", 32),
            "ef_construction": parameters.get("ef_construction", 200),
            "build_thread_count": threads,
        }
        settings = {"dtype": "float32", "metric_type": METRICS[metric], "dim": self.dimension, "index_param": index}
        self.index = pyvsag.Index("hgraph", json.dumps(settings))
        self.index.build(
            vectors=base.ravel(), ids=np.arange(len(base)), num_elements=len(base), dim=self.dimension
        )
        self.set({})

    def smallest(self, k):
        return Engine(few_rows(k, self.dimension), "L2", {})

    def set(self, setting):
        self.parameters = json.dumps({"hgraph": {"ef_search": setting.get("ef", 10)}})

    def query(self, row, k):
        return self.index.knn_search(row, k, self.parameters)[0]
