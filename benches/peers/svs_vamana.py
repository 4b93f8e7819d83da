"""scalable-vs (SVS): Vamana on f32, and with `{"codes": "LVQ4x8"}` on its compressed vectors. Parameters `m` (the degree),
`ef_construction` (the window); the setting `ef`."""

import importlib.metadata
import os
import tempfile

import svs
from engine import InBlocks, few_rows

METRICS = {"L2": svs.DistanceType.L2, "InnerProduct": svs.DistanceType.MIP, "Cosine": svs.DistanceType.Cosine}
threads = 1


def versions():
    return {"scalable-vs": importlib.metadata.version("scalable-vs")}


def set_threads(count):
    global threads
    threads = count


def compressed(base, folder):
    file = os.path.join(folder, "base.fvecs")
    svs.write_vecs(base, file)
    return svs.LVQLoader(svs.VectorDataLoader(file, svs.DataType.float32, base.shape[1]), primary=4, residual=8)


class Engine(InBlocks):
    def __init__(self, base, metric, parameters):
        build = svs.VamanaBuildParameters(
            graph_max_degree=parameters.get("m", 32),
            window_size=parameters.get("ef_construction", 200),
            # Values that its documentation recommends.
            alpha=1.2 if metric == "L2" else 0.95,
        )
        self.dimension = base.shape[1]
        with tempfile.TemporaryDirectory() as folder:
            data = compressed(base, folder) if parameters.get("codes") == "LVQ4x8" else base
            self.index = svs.Vamana.build(build, data, METRICS[metric], num_threads=threads)

    def smallest(self, k):
        return Engine(few_rows(k, self.dimension), "L2", {})

    def set(self, setting):
        self.index.num_threads = threads
        self.index.search_window_size = setting.get("ef", 10)

    def batch(self, block, k):
        return self.index.search(block, k)[0]
