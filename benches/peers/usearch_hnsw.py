"""usearch. Parameters `m`, `ef_construction`, `dtype` (f32, bf16, i8); the setting `ef`.

For i8 the coordinates are brought to -127..127 here, by one factor for all (and for L2 one offset), which changes neither order;
usearch's own conversion takes coordinates from -1 to 1. For cosine it normalises by itself.
"""

import importlib.metadata

import numpy as np
from engine import OneByOne, few_rows
from usearch.index import Index

METRICS = {"L2": "l2sq", "InnerProduct": "ip", "Cosine": "cos"}
threads = 1


def versions():
    return {"usearch": importlib.metadata.version("usearch")}


def set_threads(count):
    global threads
    threads = count


class Engine(OneByOne):
    def __init__(self, base, metric, parameters):
        dtype = parameters.get("dtype", "f32")
        self.is_i8 = dtype == "i8"
        if self.is_i8:
            low, high = float(base.min()), float(base.max())
            self.offset = (low + high) / 2 if metric == "L2" else 0.0
            self.factor = 127.0 / max(high - self.offset, self.offset - low, 1e-30)
        self.index = Index(
            ndim=base.shape[1],
            metric=METRICS[metric],
            dtype=dtype,
            connectivity=parameters.get("m", 16),
            expansion_add=parameters.get("ef_construction", 200),
            enable_key_lookups=False,
        )
        self.index.add(np.arange(len(base), dtype=np.uint64), self.converted(base), threads=threads)

    def converted(self, vectors):
        if not self.is_i8:
            return vectors
        return np.clip(np.rint((vectors - self.offset) * self.factor), -127, 127).astype(np.int8)

    def smallest(self, k):
        return Engine(few_rows(k, self.index.ndim), "L2", {"dtype": "i8" if self.is_i8 else "f32"})

    def set(self, setting):
        self.index.expansion_search = setting.get("ef", 10)

    def rows(self, queries):
        converted = self.converted(queries)
        return [converted[i] for i in range(len(converted))]

    def prepare(self, queries, together, k):
        if together == 1:
            return super().prepare(queries, together, k)
        converted, search = self.converted(queries), self.index.search
        return lambda start: search(converted[start : start + together], k, threads=threads)

    def query(self, row, k):
        return self.index.search(row, k, threads=1).keys
