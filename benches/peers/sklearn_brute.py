"""scikit-learn's NearestNeighbors, brute force."""

import numpy as np
import sklearn
from engine import InBlocks
from sklearn.neighbors import NearestNeighbors


def versions():
    return {"scikit-learn": sklearn.__version__}


def set_threads(_count):
    """Its products of sparse matrices have one thread."""


class Engine(InBlocks):
    def __init__(self, base, metric, _parameters):
        if metric != "Cosine":
            raise ValueError(f"scikit-learn has no {metric} of sparse vectors")
        self.dimension = base.shape[1]
        self.index = NearestNeighbors(algorithm="brute", metric="cosine").fit(base)

    def smallest(self, _k):
        return None

    def batch(self, block, k):
        return self.index.kneighbors(block, k, return_distance=False)
