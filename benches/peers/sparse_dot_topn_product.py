"""sparse_dot_topn: a sparse matrix product that keeps the largest of each row."""

import importlib.metadata

import numpy as np
import scipy.sparse as sp
from engine import InBlocks, unit_rows
from sparse_dot_topn import sp_matmul_topn

threads = 1


def versions():
    return {"sparse_dot_topn": importlib.metadata.version("sparse_dot_topn")}


def set_threads(count):
    global threads
    threads = count


class Engine(InBlocks):
    def __init__(self, base, metric, _parameters):
        self.transposed = (unit_rows(base) if metric == "Cosine" else base).T.tocsr()

    def smallest(self, _k):
        return Engine(sp.csr_matrix(np.ones((1, self.transposed.shape[0]), dtype=np.float32)), "InnerProduct", {})

    def batch(self, block, k):
        return sp_matmul_topn(block, self.transposed, top_n=k, n_threads=threads)

    def answers(self, queries, together, k):
        found = np.full((queries.shape[0], k), -1, dtype=np.int64)
        product = self.batch(queries, k)
        for i, row in enumerate(found):
            ids = product.indices[product.indptr[i] : product.indptr[i + 1]]
            row[: len(ids)] = ids
        return found
