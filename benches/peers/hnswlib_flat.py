"""hnswlib's BFIndex: exact, query by query."""

from importlib.metadata import version

import hnswlib
import numpy as np
from engine import few_rows

SPACES = {"L2": "l2", "InnerProduct": "ip", "Cosine": "cosine"}
threads = 1


def versions():
    return {"hnswlib": version("hnswlib")}


def set_threads(count):
    global threads
    threads = count


class Engine:
    def __init__(self, base, metric, _parameters):
        self.dimension = base.shape[1]
        self.index = hnswlib.BFIndex(space=SPACES[metric], dim=self.dimension)
        self.index.init_index(max_elements=len(base))
        self.index.add_items(base)

    def smallest(self, k):
        return Engine(few_rows(k, self.dimension), "L2", {})

    def set(self, _setting):
        self.index.set_num_threads(threads)

    def prepare(self, queries, together, k):
        blocks = [queries[i : i + together] for i in range(len(queries))]
        search = self.index.knn_query
        return lambda start: search(blocks[start], k)

    def answers(self, queries, together, k):
        self.set({})
        blocks = [queries[i : i + together] for i in range(0, len(queries), together)]
        return np.concatenate([self.index.knn_query(block, k)[0] for block in blocks])
