"""nmslib: its exact inverted index, and with `{"method": "hnsw"}` its graph. Parameters `m`, `ef_construction`; the setting `ef`."""

import importlib.metadata

import nmslib
import numpy as np
import scipy.sparse as sp
from engine import OneByOne, unit_rows

threads = 1


def versions():
    return {"nmslib": importlib.metadata.version("nmslib")}


def set_threads(count):
    global threads
    threads = count


class Engine(OneByOne):
    def __init__(self, base, metric, parameters):
        self.dimension = base.shape[1]
        self.method = parameters.get("method", "simple_invindx")
        self.index = nmslib.init(
            method=self.method, space="negdotprod_sparse_fast", data_type=nmslib.DataType.SPARSE_VECTOR
        )
        self.index.addDataPointBatch(unit_rows(base) if metric == "Cosine" else base)
        build = {}
        if self.method == "hnsw":
            build = {"M": parameters.get("m", 16), "efConstruction": parameters.get("ef_construction", 200)}
            build |= {"post": 0, "indexThreadQty": threads}
        self.index.createIndex(build)

    def smallest(self, _k):
        base = sp.csr_matrix(np.ones((1, self.dimension), dtype=np.float32))
        return Engine(base, "InnerProduct", {"method": self.method})

    def set(self, setting):
        if self.method == "hnsw":
            self.index.setQueryTimeParams({"efSearch": setting.get("ef", 10)})

    def query(self, row, k):
        return self.index.knnQueryBatch(row, k, num_threads=1)[0][0]
