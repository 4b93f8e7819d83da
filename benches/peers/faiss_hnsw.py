"""faiss IndexHNSWFlat, and with `{"codes": "SQ8"}` IndexHNSWSQ. Parameters `m`, `ef_construction`; the setting `ef`."""

import faiss
import numpy as np

METRICS = {"L2": faiss.METRIC_L2, "InnerProduct": faiss.METRIC_INNER_PRODUCT, "Cosine": faiss.METRIC_INNER_PRODUCT}


def versions():
    return {"faiss-cpu": f"{faiss.__version__} ({faiss.get_compile_options().strip()})"}


def set_threads(count):
    faiss.omp_set_num_threads(count)


class Engine:
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

    def smallest(self):
        return Engine(np.ones((1, self.index.d), dtype=np.float32), "L2", {})

    def set(self, setting):
        self.index.hnsw.efSearch = setting.get("ef", 10)

    def prepare(self, queries, together, k):
        """The least that Python allows: faiss's C++ method on pointers that are made beforehand. A cosine's query need not be
        normalised: its norm changes all distances alike."""
        self.distances = np.empty((together, k), dtype=np.float32)
        self.labels = np.empty((together, k), dtype=np.int64)
        distances, labels = faiss.swig_ptr(self.distances), faiss.swig_ptr(self.labels)
        pointers = [faiss.swig_ptr(queries[i : i + 1]) for i in range(len(queries))]
        search_c = self.index.search_c
        return lambda start: search_c(together, pointers[start], k, distances, labels)

    def answers(self, queries, together, k):
        blocks = [queries[i : i + together] for i in range(0, len(queries), together)]
        return np.concatenate([self.index.search(block, k)[1] for block in blocks])
