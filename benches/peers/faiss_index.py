"""What both engines of faiss share."""

import faiss
import numpy as np


def versions():
    return {"faiss-cpu": f"{faiss.__version__} ({faiss.get_compile_options().strip()})"}


def set_threads(count):
    faiss.omp_set_num_threads(count)


class FaissIndex:
    """An engine with faiss's `index`."""

    def prepare(self, queries, together, k):
        """The least that Python allows: faiss's C++ method on pointers that are made beforehand. A cosine's query need not
        be normalised: its norm changes all distances alike."""
        self.distances = np.empty((together, k), dtype=np.float32)
        self.labels = np.empty((together, k), dtype=np.int64)
        distances, labels = faiss.swig_ptr(self.distances), faiss.swig_ptr(self.labels)
        pointers = [faiss.swig_ptr(queries[i : i + 1]) for i in range(len(queries))]
        search_c = self.index.search_c
        return lambda start: search_c(together, pointers[start], k, distances, labels)

    def answers(self, queries, together, k):
        blocks = [queries[i : i + together] for i in range(0, len(queries), together)]
        return np.concatenate([self.index.search(block, k)[1] for block in blocks])
