"""What the client raises, status and messages to the letter."""

import pytest
from helpers import attributes, dense, eventually, found_ids, fresh_ids, point, search, sparse
from vektonn import VektonnApiError
from vektonn.dtos import AttributeValue, InputDataPoint, SearchQuery

KEY_SET = "All attributes defined for data source (and no other ones) must be specified"
VALID = {"id": 1, "group": "a", "text": "t"}


def refused(call, *args, **kwargs):
    """The status and the messages of the error that the call raises."""
    with pytest.raises(VektonnApiError) as raised:
        call(*args, **kwargs)
    error = raised.value
    assert error.error is not None, f"status {error.status} without errorMessages"
    return error.status, error.error.error_messages


def test_unknown_index(client):
    expected = "Index IndexId { Name = Nobody.Index, Version = 1.0 } does not exist"
    assert refused(search, client, "Nobody.Index", dense(1.0)) == (404, [expected])
    query = SearchQuery(k=1, query_vectors=[dense(1.0, 2.0, 3.0)])
    expected = "Index IndexId { Name = Points.L2, Version = 2.0 } does not exist"
    assert refused(client.search, "Points.L2", "2.0", query) == (404, [expected])


def test_unknown_data_source(client):
    expected = "Data source DataSourceId { Name = Nobody.Source, Version = 0.1 } does not exist"
    assert refused(client.upload, "Nobody.Source", "0.1", []) == (404, [expected])


@pytest.mark.parametrize(
    "query, messages",
    [
        (dict(k=0, query_vectors=[dense(1, 2, 3)]), ["K must be positive"]),
        (dict(k=-1, query_vectors=[]), ["K must be positive", "At least one query vector is required"]),
        (dict(k=1, query_vectors=[]), ["At least one query vector is required"]),
        (dict(k=1, query_vectors=[dense(1, 2)]), ["Vector coordinates must have dimension: 3"]),
        (dict(k=1, query_vectors=[sparse({0: 1.0})]), ["Vector must be dense"]),
        (
            dict(k=0, query_vectors=[dense(1)], split_filter=attributes(group="a")),
            [
                "K must be positive",
                "SplitFilter attribute keys must be in SplitAttributes: {}",
                "Vector coordinates must have dimension: 3",
            ],
        ),
    ],
)
def test_bad_searches(client, query, messages):
    assert refused(client.search, "Points.L2", "1.0", SearchQuery(**query)) == (400, messages)


@pytest.mark.parametrize(
    "split_filter, message",
    [
        (attributes(id=1), "SplitFilter attribute keys must be in SplitAttributes: {group}"),
        (attributes(group="a") * 2, "SplitFilter attribute keys must be unique"),
        (attributes(group=5), "SplitFilter attribute 'group' has invalid value: '5'"),
    ],
)
def test_bad_split_filters(client, split_filter, message):
    query = SearchQuery(k=1, query_vectors=[dense(1, 2, 3)], split_filter=split_filter)
    assert refused(client.search, "Points.ByGroup", "1.0", query) == (400, [message])


@pytest.mark.parametrize(
    "vector, message",
    [
        (dense(1, 2, 3), "Vector must be sparse"),
        (sparse({}), "Vector must have coordinates"),
        (sparse({1_000: 1.0}), "Vector coordinates must have dimension: 1000"),
        (sparse({-1: 1.0}), "Vector coordinates must have dimension: 1000"),
    ],
)
def test_bad_sparse_vectors(client, vector, message):
    assert refused(search, client, "Words.Cosine", vector) == (400, [message])
    assert refused(client.upload, "Words.Source", "1.0", [point(vector, id=1, text="")]) == (400, [message])


@pytest.mark.parametrize(
    "item, messages",
    [
        (point(dense(1, 2), **VALID), ["Vector coordinates must have dimension: 3"]),
        (point(dense(1, 2, 3), id=1, group="a"), [KEY_SET]),
        (
            point(dense(1, 2, 3), **VALID, more="x"),
            [KEY_SET, "InputDataPoint attribute key is unknown: 'more'"],
        ),
        (
            InputDataPoint(attributes=attributes(**VALID) + attributes(id=2), vector=dense(1, 2, 3)),
            ["Attribute keys must be unique"],
        ),
        (InputDataPoint(attributes=attributes(**VALID)), ["IsDeleted is inconsistent with Vector"]),
        (
            InputDataPoint(attributes=attributes(**VALID), vector=dense(1, 2, 3), is_deleted=True),
            ["IsDeleted is inconsistent with Vector"],
        ),
        (
            point(dense(1, 2, 3), id="one", group="a", text="t"),
            ["InputDataPoint attribute 'id' has invalid value: 'one'"],
        ),
        (
            point(dense(1, 2, 3), id=1, group=AttributeValue(bool=True), text=AttributeValue()),
            [
                "InputDataPoint attribute 'group' has invalid value: 'True'",
                "InputDataPoint attribute 'text' has invalid value: ''",
            ],
        ),
    ],
)
def test_bad_uploads(client, item, messages):
    assert refused(client.upload, "Points.Source", "1.0", [item]) == (400, messages)


def test_one_bad_item_and_nothing_is_written(client):
    good, bad = fresh_ids(2)
    place = -1e6 - good
    items = [
        point(dense(place, 0, 0), id=good, group="a", text="good"),
        point(dense(place), id=bad, group="a", text="bad"),
    ]
    assert refused(client.upload, "Points.Source", "1.0", items)[0] == 400
    # What is uploaded afterwards comes later in the log: once it is found, so would the good item be.
    client.upload("Points.Source", "1.0", [point(dense(place, 5, 0), id=bad, group="a", text="marker")])
    nearest = lambda: search(client, "Points.L2", dense(place, 0, 0), k=1)[0]
    eventually(nearest, lambda found: found_ids(found) == [bad])
