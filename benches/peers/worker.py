"""One library that takes part in a benchmark: builds an index, then searches on command.

Reads commands as JSON lines from the standard input and answers each with one JSON line. What is measured is the time of the
search loop alone, in this process. `python worker.py faiss_flat`: the engine's class `Engine` is in a module of that name.
"""

import importlib
import json
import os
import sys
import time

import numpy as np


def read_fbin(path):
    rows, columns = np.fromfile(path, dtype="<u4", count=2)
    return np.fromfile(path, dtype="<f4", offset=8).reshape(int(rows), int(columns))


def read_csr(path):
    import scipy.sparse as sp

    rows, columns, count = (int(number) for number in np.fromfile(path, dtype="<i8", count=3))
    starts = np.fromfile(path, dtype="<i8", offset=24, count=rows + 1)
    indices = np.fromfile(path, dtype="<i4", offset=24 + 8 * (rows + 1), count=count)
    values = np.fromfile(path, dtype="<f4", offset=24 + 8 * (rows + 1) + 4 * count, count=count)
    return sp.csr_matrix((values, indices, starts.astype(np.int32)), shape=(rows, columns))


def read(path):
    return read_csr(path) if path.endswith(".csr") else read_fbin(path)


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmHWM"].split()[0]) * 1024


def blas_kernels():
    """The kernels that the BLAS libraries of this process chose, such as SkylakeX."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return [f"{os.path.basename(library['filepath']).split('-')[0]} {library['architecture']}" for library in libraries]


class Worker:
    def __init__(self, module):
        self.module = importlib.import_module(module)
        self.engine = None

    def about(self, _command):
        return {"versions": self.module.versions(), "blas": blas_kernels()}

    def build(self, command):
        base = read(command["base"])
        self.queries = read(command["queries"])
        before = resident_bytes()
        wall, cpu = time.perf_counter(), time.process_time()
        self.engine = self.module.Engine(base, command["metric"], command["parameters"])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"wall_s": wall, "cpu_s": cpu, "bytes": resident_bytes() - before, "peak_bytes": peak_bytes() - before}

    def use_cores(self, command):
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), command["cores"])
        self.module.set_threads(len(command["cores"]))
        return {}

    def starts(self, command):
        """The first query of each call, as in `Turn::calls`."""
        count = self.queries.shape[0]
        together = min(command["together"], count)
        starts, calls = count // together, -(-command["count"] // together)
        return together, [(command["first"] // together + call) % starts * together for call in range(calls)]

    def search(self, command):
        self.engine.set(command["setting"])
        together, starts = self.starts(command)
        search = self.engine.prepare(self.queries, together, command["k"])
        wall, cpu = time.perf_counter(), time.process_time()
        for start in starts:
            search(start)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"queries": together * len(starts), "wall_s": wall, "cpu_s": cpu}

    def latencies(self, command):
        self.engine.set(command["setting"])
        _, starts = self.starts(command)
        search = self.engine.prepare(self.queries, 1, command["k"])
        seconds = []
        for start in starts:
            before = time.perf_counter()
            search(start)
            seconds.append(time.perf_counter() - before)
        return {"seconds": seconds}

    def answers(self, command):
        self.engine.set(command["setting"])
        found = self.engine.answers(self.queries, command["together"], command["k"]).astype("<i4")
        with open(command["file"], "wb") as file:
            file.write(np.array(found.shape, dtype="<u4").tobytes())
            file.write(found.tobytes())
        return {}

    def call_overhead(self, command):
        """Seconds of a call that searches hardly any vectors; 0 for an engine that is made of Python itself."""
        smallest = self.engine.smallest(command["k"])
        if smallest is None:
            return {"seconds": 0}
        smallest.set({})
        search = smallest.prepare(self.queries, 1, command["k"])
        count = self.queries.shape[0]
        started, calls = time.process_time(), 0
        while calls < 20_000 and time.process_time() < started + 1:
            for start in range(min(count, 100)):
                search(start)
            calls += min(count, 100)
        return {"seconds": (time.process_time() - started) / calls}

    def sgemm(self, _command):
        """How fast the engine's own matrix product is: products of 256 queries with 20,000 rows, per second."""
        return {"per_second": self.module.sgemm()}


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # Whatever a library prints belongs to the terminal.
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(command)
        except Exception as error:  # Reported to the harness, which decides.
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
