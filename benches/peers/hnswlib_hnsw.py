"""hnswlib. Parameters `m`, `ef_construction`; the setting `ef`."""

import importlib.metadata

import hnswlib
from engine import InBlocks, few_rows

SPACES = {"L2": "l2", "InnerProduct": "ip", "Cosine": "cosine"}
threads = 1


def versions():
    return {"hnswlib": importlib.metadata.version("hnswlib")}


def set_threads(count):
    global threads
    threads = count


class Engine(InBlocks):
    def __init__(self, base, metric, parameters):
        self.index = hnswlib.Index(space=SPACES[metric], dim=base.shape[1])
        self.index.init_index(
            max_elements=len(base), M=parameters.get("m", 16), ef_construction=parameters.get("ef_construction", 200)
        )
        self.index.add_items(base, num_threads=threads)

    def smallest(self, k):
        return Engine(few_rows(k, self.index.dim), "L2", {})

    def set(self, setting):
        self.index.set_ef(setting.get("ef", 10))

    def batch(self, block, k):
        return self.index.knn_query(block, k, num_threads=threads)[0]
