"""faiss IndexHNSWFlat, and with `{"codes": "SQ8"}` IndexHNSWSQ. Parameters `m`, `ef_construction`; the setting `ef`."""

import faiss
from engine import few_rows
from faiss_index import FaissIndex, set_threads, versions  # noqa: F401

METRICS = {"L2": faiss.METRIC_L2, "InnerProduct": faiss.METRIC_INNER_PRODUCT, "Cosine": faiss.METRIC_INNER_PRODUCT}


class Engine(FaissIndex):
    def __init__(self, base, metric, parameters):
        self.is_cosine = metric == "Cosine"
        dimension, m = base.shape[1], parameters.get("m", 16)
        if parameters.get("codes") == "SQ8":
            self.index = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_8bit, m, METRICS[metric])
        else:
            self.index = faiss.IndexHNSWFlat(dimension, m, METRICS[metric])
        self.index.hnsw.efConstruction = parameters.get("ef_construction", 200)
        if self.is_cosine:
            base = base.copy()
            faiss.normalize_L2(base)
        if not self.index.is_trained:
            self.index.train(base)
        self.index.add(base)

    def smallest(self, k):
        return Engine(few_rows(k, self.index.d), "L2", {})

    def set(self, setting):
        self.index.hnsw.efSearch = setting.get("ef", 10)
