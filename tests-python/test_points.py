"""Upload, search, update, delete; dense and sparse, whole, split and sharded indices."""

import datetime
import uuid

import pytest
from helpers import deletion, dense, eventually, found_id, found_ids, fresh_ids, point, search, sparse, values
from vektonn.dtos import AttributeValue, SearchQuery

FAR = 1e6
"""Tests share their indices: each keeps to a corner of its own, far from everything else."""


def corner():
    """Three fresh ids and a place that no other test uses."""
    ids = fresh_ids(3)
    return ids, FAR + 100.0 * ids[0]


def upload_three(client, group="a"):
    ids, base = corner()
    points = [
        point(dense(base + step, 0.0, 0.0), id=id, group=group, text=f"point {step}") for step, id in enumerate(ids)
    ]
    client.upload("Points.Source", "1.0", points)
    nearest = lambda: search(client, "Points.L2", dense(base, 0.0, 0.0), k=3)[0]
    eventually(nearest, lambda found: found_ids(found) == ids)
    return ids, base


def test_search_with_vectors(client):
    ids, base = upload_three(client)
    found = search(client, "Points.L2", dense(base, 0.0, 0.0), k=2)[0]
    assert found_ids(found) == ids[:2]
    assert [hit.distance for hit in found] == [0.0, 1.0]
    assert [hit.vector for hit in found] == [dense(base, 0.0, 0.0), dense(base + 1, 0.0, 0.0)]
    assert [attribute.key for attribute in found[0].attributes] == ["group", "id", "text"]
    assert values(found[0])["text"].string == "point 0"


def test_search_without_vectors(client):
    ids, base = upload_three(client)
    found = search(client, "Points.L2", dense(base, 0.0, 0.0), k=1, retrieveVectors=False)[0]
    assert found_ids(found) == ids[:1]
    assert found[0].vector is None


def test_several_query_vectors_in_order(client):
    ids, base = upload_three(client)
    queries = [dense(base + 2, 0.0, 0.0), dense(base, 0.0, 0.0)]
    results = client.search("Points.L2", "1.0", SearchQuery(k=1, query_vectors=queries))
    assert [result.query_vector for result in results] == queries
    assert [found_id(result.nearest_data_points[0]) for result in results] == [ids[2], ids[0]]


def test_update_replaces_vector_and_payload(client):
    ids, base = upload_three(client)
    client.upload("Points.Source", "1.0", [point(dense(base, 50.0, 0.0), id=ids[0], group="a", text="moved")])
    nearest = lambda: search(client, "Points.L2", dense(base, 50.0, 0.0), k=1)[0]
    found = eventually(nearest, lambda found: found_ids(found) == ids[:1])
    assert (found[0].distance, values(found[0])["text"].string) == (0.0, "moved")
    assert found_ids(search(client, "Points.L2", dense(base, 0.0, 0.0), k=1)[0]) == [ids[1]]


def test_delete(client):
    ids, base = upload_three(client)
    client.upload("Points.Source", "1.0", [deletion(id=ids[1], group="a", text="")])
    nearest = lambda: search(client, "Points.L2", dense(base, 0.0, 0.0), k=2)[0]
    eventually(nearest, lambda found: found_ids(found) == [ids[0], ids[2]])
    client.upload("Points.Source", "1.0", [point(dense(base, 0.0, 1.0), id=ids[1], group="a", text="back")])
    eventually(nearest, lambda found: found_ids(found) == ids[:2])


def test_the_last_of_equal_ids_in_one_upload_wins(client):
    ids, base = corner()
    twice = [point(dense(base, step, 0.0), id=ids[0], group="a", text=f"step {step}") for step in (1.0, 0.0)]
    client.upload("Points.Source", "1.0", twice)
    nearest = lambda: search(client, "Points.L2", dense(base, 0.0, 0.0), k=1)[0]
    found = eventually(nearest, lambda found: found and found_id(found[0]) == ids[0])
    assert (found[0].distance, values(found[0])["text"].string) == (0.0, "step 0.0")


def test_an_empty_upload(client):
    client.upload("Points.Source", "1.0", [])


@pytest.mark.parametrize(
    "text",
    ["Привет, мир", "漢字かな交じり文", "🦀 \U0001F1EA\U0001F1F8", 'quo"te \\ \n\t \x7f', "a\u0301 \u200f\ufeff", ""],
)
def test_unicode_payloads(client, text):
    ids, base = corner()
    client.upload("Points.Source", "1.0", [point(dense(base, 0.0, 0.0), id=ids[0], group=text or "-", text=text)])
    nearest = lambda: search(client, "Points.L2", dense(base, 0.0, 0.0), k=1)[0]
    found = eventually(nearest, lambda found: found and found_id(found[0]) == ids[0])
    assert values(found[0])["text"].string == text
    assert values(found[0])["group"].string == (text or "-")


def test_inner_product_is_descending(client):
    ids, base = upload_three(client)
    found = search(client, "Points.IP", dense(1.0, 0.0, 0.0), k=1_000)[0]
    distances = [hit.distance for hit in found]
    assert distances == sorted(distances, reverse=True)
    products = {found_id(hit): hit.distance for hit in found}
    assert [products[id] for id in ids] == [base, base + 1, base + 2]


def test_split_filter(client):
    red, base = upload_three(client, group="красный")
    blue = fresh_ids(1)
    client.upload("Points.Source", "1.0", [point(dense(base, 0.5, 0.0), id=blue[0], group="blue", text="")])
    query = dense(base, 0.0, 0.0)
    everywhere = lambda: search(client, "Points.ByGroup", query, k=3)[0]
    found = eventually(everywhere, lambda found: found_ids(found) == [red[0], blue[0], red[1]])
    assert [attribute.key for attribute in found[0].attributes] == ["id", "group", "text"]
    only_red = search(client, "Points.ByGroup", query, k=3, split={"group": "красный"})[0]
    assert found_ids(only_red) == red
    only_blue = search(client, "Points.ByGroup", query, k=1, split={"group": "blue"})[0]
    assert found_ids(only_blue) == blue
    assert search(client, "Points.ByGroup", query, split={"group": "nobody"}) == [[]]
    assert found_ids(search(client, "Points.ByGroup", query, k=1, split={})[0]) == [red[0]]


MOMENT = datetime.datetime(2021, 7, 31, 13, 52, 59, 123456, tzinfo=datetime.timezone.utc)
TYPED = {
    "count": AttributeValue(int64=-(2**63)),
    "flag": AttributeValue(bool=False),
    "guid": AttributeValue(guid=uuid.UUID("E8EDB009-DD41-43A5-8D64-63458EBD0341")),
    "moment": AttributeValue(date_time=MOMENT),
    "ratio": AttributeValue(float64=0.1),
    "text": AttributeValue(string="la-la-la"),
}


def test_all_attribute_types(client):
    (id,) = fresh_ids(1)
    client.upload("Types.Source", "1.0", [point(dense(float(id), 0.0), id=id, **TYPED)])
    nearest = lambda: search(client, "Types.Index", dense(float(id), 0.0), k=1)[0]
    found = eventually(nearest, lambda found: found and found_id(found[0]) == id)
    assert [attribute.key for attribute in found[0].attributes] == ["id", *TYPED]
    assert values(found[0]) == {"id": AttributeValue(int64=id), **TYPED}


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("count", AttributeValue(int64=2**63 - 1), None),
        ("flag", AttributeValue(bool=True), None),
        ("guid", AttributeValue(guid=uuid.UUID(int=0)), None),
        ("ratio", AttributeValue(float64=-1.7976931348623157e308), None),
        # One without an offset is UTC.
        ("moment", AttributeValue(date_time=MOMENT.replace(tzinfo=None)), AttributeValue(date_time=MOMENT)),
        ("moment", AttributeValue(date_time=datetime.datetime(1, 1, 1, tzinfo=datetime.timezone.utc)), None),
    ],
)
def test_one_attribute_at_an_extreme(client, key, value, expected):
    (id,) = fresh_ids(1)
    client.upload("Types.Source", "1.0", [point(dense(float(id), 0.0), id=id, **{**TYPED, key: value})])
    nearest = lambda: search(client, "Types.Index", dense(float(id), 0.0), k=1)[0]
    found = eventually(nearest, lambda found: found and found_id(found[0]) == id)
    assert values(found[0])[key] == (expected or value)


def test_sparse_cosine_and_jaccard(client):
    # A part of the dimensions that no other run of this test uses, so that everything else is at distance 1.
    ids, first = fresh_ids(3), 10 * (fresh_ids(1)[0] % 90)
    vectors = [
        sparse({first: 1.0, first + 1: 1.0}),
        sparse({first + 1: 2.0}),
        sparse({first + 3: 3.0, first: 4.0, first + 2: 5.0}),
    ]
    client.upload("Words.Source", "1.0", [point(v, id=id, text="слово") for v, id in zip(vectors, ids)])
    query = sparse({first + 1: 1.0, first: 1.0})
    cosine = lambda: search(client, "Words.Cosine", query, k=3)[0]
    found = eventually(cosine, lambda found: found_ids(found) == ids)
    assert [hit.distance for hit in found] == pytest.approx([0.0, 1 - 0.5**0.5, 0.6], abs=1e-6)
    # Stored vectors come back in the order of their indices.
    assert found[2].vector == sparse({first: 4.0, first + 2: 5.0, first + 3: 3.0})

    found = search(client, "Words.JaccardBinary", query, k=3)[0]
    assert found_ids(found) == ids
    assert [hit.distance for hit in found] == pytest.approx([0.0, 0.5, 0.75], abs=1e-6)

    client.upload("Words.Source", "1.0", [deletion(id=ids[0], text="")])
    eventually(cosine, lambda found: found_ids(found)[:2] == ids[1:])


def test_shards_of_a_sharded_data_source(client):
    shops = list(range(8))
    ids, base = fresh_ids(len(shops)), FAR + 100.0 * fresh_ids(1)[0]
    points = [point(dense(base, float(shop)), id=id, shop=shop, text="") for shop, id in zip(shops, ids)]
    client.upload("Shops.Source", "1.0", points)
    everywhere = lambda: search(client, "Shops.Index", dense(base, 0.0), k=len(shops))[0]
    eventually(everywhere, lambda found: found_ids(found) == ids)
    for shop, id in zip(shops, ids):
        assert found_ids(search(client, "Shops.Index", dense(base, 0.0), k=1, split={"shop": shop})[0]) == [id]
