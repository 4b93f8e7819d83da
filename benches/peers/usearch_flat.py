"""usearch's exact search: a function of the vectors, without an index."""

from importlib.metadata import version

import numpy as np
from engine import few_rows
from usearch.index import MetricKind, search

METRICS = {"L2": MetricKind.L2sq, "InnerProduct": MetricKind.IP, "Cosine": MetricKind.Cos}
threads = 1


def versions():
    return {"usearch": version("usearch")}


def set_threads(count):
    global threads
    threads = count


class Engine:
    def __init__(self, base, metric, _parameters):
        self.base = base
        self.metric = METRICS[metric]

    def smallest(self, k):
        return Engine(few_rows(k, self.base.shape[1]), "L2", {})

    def set(self, _setting):
        pass

    def search(self, block, k):
        return search(self.base, block, k, self.metric, exact=True, threads=threads)

    def prepare(self, queries, together, k):
        # One query is a vector; its matches come without the dimension of queries.
        blocks = [queries[i] if together == 1 else queries[i : i + together] for i in range(len(queries))]
        return lambda start: self.search(blocks[start], k)

    def answers(self, queries, together, k):
        blocks = [queries[i : i + together] for i in range(0, len(queries), together)]
        return np.concatenate([self.search(block, k).keys.reshape(len(block), k) for block in blocks])
