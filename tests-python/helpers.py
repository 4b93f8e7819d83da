"""Short forms for the client's data classes, and waiting for what was uploaded."""

import itertools
import time

from vektonn.dtos import Attribute, AttributeValue, InputDataPoint, SearchQuery, Vector

SEARCHABLE_TIMEOUT_SECONDS = 10

_ids = itertools.count(1_000)


def fresh_ids(count):
    """Ids that no other test uses: all tests share one server."""
    return [next(_ids) for _ in range(count)]


def dense(*coordinates):
    return Vector(is_sparse=False, coordinates=list(coordinates))


def sparse(coordinates_by_index):
    return Vector(
        is_sparse=True,
        coordinates=list(coordinates_by_index.values()),
        coordinate_indices=list(coordinates_by_index),
    )


def attributes(**values):
    """`attributes(id=1)`: an int is an int64, a str a string; anything else comes as an AttributeValue."""

    def attribute_value(value):
        if isinstance(value, int):
            return AttributeValue(int64=value)
        if isinstance(value, str):
            return AttributeValue(string=value)
        return value

    return [Attribute(key=key, value=attribute_value(value)) for key, value in values.items()]


def point(vector, **values):
    return InputDataPoint(attributes=attributes(**values), vector=vector)


def deletion(**values):
    return InputDataPoint(attributes=attributes(**values), is_deleted=True)


def search(client, index, *query_vectors, k=10, split=None, **options):
    """One list of found points per query vector."""
    split_filter = None if split is None else attributes(**split)
    query = SearchQuery(k=k, query_vectors=list(query_vectors), split_filter=split_filter, **options)
    return [result.nearest_data_points for result in client.search(index, "1.0", query)]


def values(found):
    """A found point's attributes as a dict from key to AttributeValue."""
    return {attribute.key: attribute.value for attribute in found.attributes}


def found_id(found):
    return values(found)["id"].int64


def found_ids(found_points):
    return [found_id(found) for found in found_points]


def eventually(look, is_expected):
    """Looks until `is_expected(look())`: an upload is searchable a moment after it is acknowledged."""
    deadline = time.monotonic() + SEARCHABLE_TIMEOUT_SECONDS
    while True:
        seen = look()
        if is_expected(seen):
            return seen
        assert time.monotonic() < deadline, f"not as expected within {SEARCHABLE_TIMEOUT_SECONDS} s: {seen}"
        time.sleep(0.005)
