"""What the engines of approximate and of sparse search share."""

import numpy as np


class OneByOne:
    """An engine with `query(row, k)`, which returns ids; batches are searched one query after the other."""

    def rows(self, queries):
        """The queries in the form that costs the library the least."""
        return [queries[i] for i in range(queries.shape[0])]

    def prepare(self, queries, together, k):
        rows, query = self.rows(queries), self.query
        if together == 1:
            return lambda start: query(rows[start], k)

        def search(start):
            for row in rows[start : start + together]:
                query(row, k)

        return search

    def answers(self, queries, together, k):
        found = np.full((queries.shape[0], k), -1, dtype=np.int64)
        for row, query in zip(found, self.rows(queries)):
            ids = np.asarray(self.query(query, k)).ravel()[:k]
            row[: len(ids)] = ids
        return found

    def set(self, _setting):
        pass


class InBlocks:
    """An engine with `batch(block, k)`, which returns ids of all queries in a block; one query is a block of one."""

    def prepare(self, queries, together, k):
        blocks = {i: queries[i : i + together] for i in range(0, queries.shape[0] - together + 1, together)}
        batch = self.batch
        return lambda start: batch(blocks[start], k)

    def answers(self, queries, together, k):
        blocks = [queries[i : i + together] for i in range(0, queries.shape[0], together)]
        return np.concatenate([np.asarray(self.batch(block, k)) for block in blocks]).astype(np.int64)

    def set(self, _setting):
        pass


def few_rows(k, dimension):
    """As few rows as have k neighbours: some engines refuse to find fewer, or fill up what is missing."""
    return np.random.default_rng(1).random((k, dimension), dtype=np.float32)


def unit_rows(base):
    """Sparse rows divided by their norms; empty ones stay."""
    norms = np.sqrt(base.multiply(base).sum(axis=1)).A1
    scaled = base.copy()
    scaled.data /= np.repeat(np.where(norms > 0, norms, 1), np.diff(base.indptr)).astype(np.float32)
    return scaled


def top(scores, k):
    """Places of the k largest; fewer if there are not so many."""
    return np.argpartition(scores, -k)[-k:] if len(scores) > k else np.arange(len(scores))
