"""An API on four shards in processes of their own, with Kafka, answers as one process does."""

import os
import random

import pytest
from helpers import attributes, dense, deletion, eventually, found_id, point, search, values
from vektonn import Vektonn, VektonnApiError

INDEX = "Streets.Index"
AREAS = range(8)
KINDS = ["avenue", "lane", "road"]


@pytest.fixture(scope="module")
def servers():
    """A client of one process and one of many, both of which have taken the same uploads, and what these left."""
    clients = [Vektonn(os.environ[f"VEKTONN_{name}_PROCESS{s}_URL"]) for name, s in (("ONE", ""), ("MANY", "ES"))]
    rng = random.Random(5)
    left = {}
    for _ in range(30):
        batch = []
        for id in rng.sample(range(400), 40):
            # Some distances are equal, and some points are of a changed or deleted id.
            key = dict(id=id, area=id % len(AREAS), kind=KINDS[id % len(KINDS)])
            if id in left and rng.random() < 0.3:
                batch.append(deletion(**key, text=""))
                del left[id]
            else:
                place = [rng.randrange(6) / 2 for _ in range(3)]
                batch.append(point(dense(*place), **key, text=f"street {id} at {place}"))
                left[id] = place
        for client in clients:
            client.upload("Streets.Source", "1.0", batch)
    for client in clients:
        found = eventually(
            lambda: search(client, INDEX, dense(0, 0, 0), k=1_000)[0], lambda found: ids_and_places(found) == left
        )
        assert len(found) == len(left)
    return clients


def ids_and_places(found):
    return {found_id(point): list(point.vector.coordinates) for point in found}


def comparable(found_lists):
    """Everything about the found points; with equal distances the order is by id, so lists may be compared."""
    return [
        [(point.distance, sorted(values(point).items()), point.vector) for point in found] for found in found_lists
    ]


@pytest.mark.parametrize("retrieve_vectors", [True, False])
@pytest.mark.parametrize(
    "split",
    [None, {"kind": "lane"}, {"area": 3}, {"area": 6, "kind": "avenue"}, {"area": 3, "kind": "nowhere"}],
    ids=str,
)
def test_the_same_answers(servers, split, retrieve_vectors):
    rng = random.Random(7)
    for k in (1, 10, 1_000):
        queries = [dense(*(rng.uniform(0, 3) for _ in range(3))) for _ in range(5)]
        one, many = (
            comparable(search(client, INDEX, *queries, k=k, split=split, retrieve_vectors=retrieve_vectors))
            for client in servers
        )
        assert many == one
        assert all(one) or split == {"area": 3, "kind": "nowhere"}


def test_the_same_refusals(servers):
    def refusal(client, call, *args, **kwargs):
        with pytest.raises(VektonnApiError) as raised:
            call(client, *args, **kwargs)
        return raised.value.status, raised.value.error.error_messages

    bad_searches = [
        dict(k=0),
        dict(split={"text": "t"}),
        dict(split={"area": "three"}),
    ]
    for bad in bad_searches:
        one, many = (refusal(client, search, INDEX, dense(1, 2), **bad) for client in servers)
        assert many == one and one[0] == 400
    lacking = [point(dense(1, 2, 3), id=1, area=1, text="no kind")]
    one, many = (refusal(client, Vektonn.upload, "Streets.Source", "1.0", lacking) for client in servers)
    assert many == one and one[0] == 400
