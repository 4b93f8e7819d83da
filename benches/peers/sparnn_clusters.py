"""The algorithm of PySparNN, which is not on PyPI: cluster pruning (Manning, Raghavan, Schuetze: Introduction to Information
Retrieval, 7.1.6), with as many random leaders as the square root of the rows. The setting `clusters` is how many are searched."""

import numpy as np
import scipy
from engine import OneByOne, top, unit_rows


def versions():
    return {"scipy": scipy.__version__}


def set_threads(_count):
    """Has one thread."""


class Engine(OneByOne):
    def __init__(self, base, metric, _parameters):
        self.metric, self.dimension = metric, base.shape[1]
        units = unit_rows(base)
        random = np.random.default_rng(1)
        leaders = units[np.sort(random.choice(base.shape[0], max(1, int(np.sqrt(base.shape[0]))), replace=False))]
        self.leaders = leaders.T.tocsr()
        nearest = np.zeros(base.shape[0], dtype=np.int64)
        for start in range(0, base.shape[0], 4096):
            nearest[start : start + 4096] = (units[start : start + 4096] @ self.leaders).toarray().argmax(axis=1)
        scored = units if metric == "Cosine" else base
        self.members = [np.flatnonzero(nearest == i) for i in range(leaders.shape[0])]
        self.clusters = [scored[rows].T.tocsr() for rows in self.members]
        self.set({})

    def smallest(self, _k):
        return None

    def set(self, setting):
        self.searched = setting.get("clusters", 2)

    def query(self, row, k):
        product = row @ self.leaders
        ids, scores = [], []
        for cluster in product.indices[top(product.data, self.searched)]:
            found = row @ self.clusters[cluster]
            ids.append(self.members[cluster][found.indices])
            scores.append(found.data)
        if not ids:
            return []
        ids, scores = np.concatenate(ids), np.concatenate(scores)
        return ids[top(scores, k)]
