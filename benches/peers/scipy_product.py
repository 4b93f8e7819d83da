"""scipy: a sparse matrix product with all rows, then the largest."""

import numpy as np
import scipy
import scipy.sparse as sp
from engine import OneByOne, top, unit_rows


def versions():
    return {"scipy": scipy.__version__}


def set_threads(_count):
    """scipy's sparse product has one thread."""


class Engine(OneByOne):
    def __init__(self, base, metric, _parameters):
        self.metric = metric
        base = unit_rows(base) if metric == "Cosine" else base
        if metric == "JaccardBinary":
            base = sp.csr_matrix((np.ones_like(base.data), base.indices, base.indptr), shape=base.shape)
            self.sizes = np.diff(base.indptr).astype(np.float32)
        self.transposed = base.T.tocsr()

    def smallest(self, _k):
        return None

    def rows(self, queries):
        if self.metric == "JaccardBinary":
            queries = sp.csr_matrix((np.ones_like(queries.data), queries.indices, queries.indptr), shape=queries.shape)
        return super().rows(queries)

    def query(self, row, k):
        product = row @ self.transposed
        scores = product.data
        if self.metric == "JaccardBinary":
            scores = scores / (row.nnz + self.sizes[product.indices] - scores)
        return product.indices[top(scores, k)]
