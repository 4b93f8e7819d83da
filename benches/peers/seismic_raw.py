"""Seismic (pyseismic-lsr), without names of terms. Parameters are those of its build; settings `query_cut`, `heap_factor`."""

import copy
import importlib.metadata
import os
import struct
import tempfile

import numpy as np
from engine import OneByOne, unit_rows
from seismic import SeismicIndexRaw, SeismicIndexRawLV


def versions():
    return {"pyseismic-lsr": importlib.metadata.version("pyseismic-lsr")}


def set_threads(count):
    # Rayon's pool is made at the first build, and a search of one query has one thread.
    os.environ.setdefault("RAYON_NUM_THREADS", str(count))


def write(base, path):
    """Its own format: u32 rows, then of each row u32 length, u32 terms, f32 values."""
    with open(path, "wb") as file:
        file.write(struct.pack("<I", base.shape[0]))
        for start, end in zip(base.indptr, base.indptr[1:]):
            file.write(struct.pack("<I", end - start))
            file.write(base.indices[start:end].astype("<u4").tobytes())
            file.write(base.data[start:end].astype("<f4").tobytes())


class Engine(OneByOne):
    def __init__(self, base, metric, parameters):
        # Terms are u16 in the one and u32 in the other, for large vocabularies.
        index = SeismicIndexRaw if base.shape[1] <= 1 << 16 else SeismicIndexRawLV
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "base.bin")
            write(unit_rows(base) if metric == "Cosine" else base, path)
            self.index = index.build(path, **parameters)
        self.set({})

    def smallest(self, _k):
        """The same index, but queries without terms."""
        empty = copy.copy(self)
        empty.rows = lambda queries: [(np.empty(0, np.int32), np.empty(0, np.float32))] * queries.shape[0]
        return empty

    def set(self, setting):
        self.query_cut, self.heap_factor = setting.get("query_cut", 10), setting.get("heap_factor", 0.9)

    def rows(self, queries):
        bounds = zip(queries.indptr, queries.indptr[1:])
        return [
            (queries.indices[start:end].astype(np.int32), queries.data[start:end].astype(np.float32))
            for start, end in bounds
        ]

    def search(self, row, k):
        return self.index.search(row[0], row[1], k, self.query_cut, self.heap_factor, 0, True)

    def query(self, row, k):
        return self.search(row, k)

    def answers(self, queries, together, k):
        found = np.full((queries.shape[0], k), -1, dtype=np.int64)
        for row, query in zip(found, self.rows(queries)):
            ids = [neighbor[1] for neighbor in self.search(query, k)]
            row[: len(ids)] = ids
        return found
