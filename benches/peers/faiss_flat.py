"""faiss IndexFlat: exact. The setting `blas_threshold` is from how many queries on it uses BLAS; null for faiss's own default."""

import faiss
import numpy as np

DEFAULT_BLAS_THRESHOLD = faiss.cvar.distance_compute_blas_threshold
METRICS = {"L2": faiss.METRIC_L2, "InnerProduct": faiss.METRIC_INNER_PRODUCT}


def versions():
    return {"faiss-cpu": f"{faiss.__version__} ({faiss.get_compile_options().strip()})"}


def set_threads(count):
    faiss.omp_set_num_threads(count)


def sgemm():
    import time

    random = np.random.default_rng(1)
    index = faiss.IndexFlatIP(128)
    index.add(random.standard_normal((20_000, 128), dtype=np.float32))
    queries = random.standard_normal((256, 128), dtype=np.float32)
    faiss.cvar.distance_compute_blas_threshold = 20
    seconds = []
    for _ in range(15):
        started = time.process_time()
        index.search(queries, 1)
        seconds.append(time.process_time() - started)
    return 1 / sorted(seconds)[len(seconds) // 2]


class Engine:
    def __init__(self, base, metric, _parameters):
        self.metric = METRICS[metric]
        self.index = faiss.IndexFlat(base.shape[1], self.metric)
        self.index.add(base)

    def smallest(self):
        return Engine(np.ones((1, self.index.d), dtype=np.float32), "L2", {})

    def set(self, setting):
        threshold = setting.get("blas_threshold")
        faiss.cvar.distance_compute_blas_threshold = threshold or DEFAULT_BLAS_THRESHOLD

    def prepare(self, queries, together, k):
        """The least that Python allows: faiss's C++ method on pointers that are made beforehand."""
        self.distances = np.empty((together, k), dtype=np.float32)
        self.labels = np.empty((together, k), dtype=np.int64)
        distances, labels = faiss.swig_ptr(self.distances), faiss.swig_ptr(self.labels)
        pointers = [faiss.swig_ptr(queries[i : i + 1]) for i in range(len(queries))]
        search_c = self.index.search_c
        return lambda start: search_c(together, pointers[start], k, distances, labels)

    def answers(self, queries, together, k):
        blocks = [queries[i : i + together] for i in range(0, len(queries), together)]
        return np.concatenate([self.index.search(block, k)[1] for block in blocks])
