"""numpy alone: one list of rows for each term, added up into an array of all rows."""

import numpy as np
from engine import OneByOne, top, unit_rows


def versions():
    return {"numpy": np.__version__}


def set_threads(_count):
    """Has one thread."""


class Engine(OneByOne):
    def __init__(self, base, metric, _parameters):
        self.is_jaccard = metric == "JaccardBinary"
        self.metric, self.shape = metric, base.shape
        self.sizes = np.diff(base.indptr).astype(np.float32)
        postings = (unit_rows(base) if metric == "Cosine" else base).tocsc()
        ends = range(base.shape[1])
        self.rows_of = [postings.indices[postings.indptr[i] : postings.indptr[i + 1]] for i in ends]
        self.values_of = [postings.data[postings.indptr[i] : postings.indptr[i + 1]] for i in ends]

    def smallest(self, _k):
        return None

    def rows(self, queries):
        bounds = zip(queries.indptr, queries.indptr[1:])
        return [(queries.indices[start:end].tolist(), queries.data[start:end].tolist()) for start, end in bounds]

    def query(self, row, k):
        terms, weights = row
        scores = np.zeros(self.shape[0], dtype=np.float32)
        if self.is_jaccard:
            for term in terms:
                scores[self.rows_of[term]] += 1
            scores /= len(terms) + self.sizes - scores
        else:
            for term, weight in zip(terms, weights):
                scores[self.rows_of[term]] += weight * self.values_of[term]
        return top(scores, k)
