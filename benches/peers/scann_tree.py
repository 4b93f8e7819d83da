"""ScaNN: a tree of partitions, asymmetric hashing, exact distances of the best. Parameter `leaves`; the setting `leaves` is how
many are searched, `reorder` how many candidates are compared exactly."""

import importlib.metadata

import numpy as np
import scann
from engine import OneByOne, few_rows

METRICS = {"L2": "squared_l2", "InnerProduct": "dot_product", "Cosine": "dot_product"}

threads = 1


def versions():
    return {"scann": importlib.metadata.version("scann")}


def set_threads(count):
    global threads
    threads = count


def is_flat(base):
    return len(base) < 100


class Engine(OneByOne):
    def __init__(self, base, metric, parameters):
        if metric == "Cosine":
            base = base / np.maximum(np.linalg.norm(base, axis=1, keepdims=True), 1e-30)
        self.dimension = base.shape[1]
        builder = scann.scann_ops_pybind.builder(base, 10, METRICS[metric])
        if is_flat(base):
            builder = builder.score_brute_force()
        else:
            # What its documentation says of sets of this size: about the square root of points in leaves; anisotropic
            # hashing for inner products.
            leaves = parameters.get("leaves", int(np.sqrt(len(base)) * 1.6))
            builder = builder.tree(
                num_leaves=leaves, num_leaves_to_search=leaves // 10, training_sample_size=len(base)
            )
            threshold = float("nan") if metric == "L2" else 0.2
            builder = builder.score_ah(2, anisotropic_quantization_threshold=threshold).reorder(100)
        self.searcher = builder.build().searcher
        self.leaves, self.reorder = -1, -1

    def smallest(self, k):
        return Engine(few_rows(k, self.dimension), "L2", {})

    def set(self, setting):
        self.leaves, self.reorder = setting.get("leaves", -1), setting.get("reorder", -1)

    def prepare(self, queries, together, k):
        if together == 1:
            return super().prepare(queries, together, k)
        self.searcher.set_num_threads(threads)
        search, each = self.searcher.search_batched, -(-together // threads)
        return lambda start: search(queries[start : start + together], k, self.reorder, self.leaves, True, each)

    def query(self, row, k):
        return self.searcher.search(row, k, self.reorder, self.leaves)[0]
