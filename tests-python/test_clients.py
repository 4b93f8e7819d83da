"""Request timeouts, and several clients at once."""

import asyncio
import threading

import pytest
import requests
from helpers import dense, eventually, found_ids, fresh_ids, point, search, values
from vektonn import Vektonn, VektonnApiError, VektonnAsync
from vektonn.dtos import SearchQuery

QUERY = SearchQuery(k=1, query_vectors=[dense(1.0, 2.0, 3.0)])


def test_requests_within_their_timeout(client):
    client.upload("Points.Source", "1.0", [], request_timeout_seconds=5)
    client.search("Points.L2", "1.0", QUERY, request_timeout_seconds=0.75)


def test_a_timeout_that_is_too_short(client):
    """The asynchronous client only tells the server; the server answers in time or with a readable error."""
    many = SearchQuery(k=1_000, query_vectors=[dense(1.0, 2.0, 3.0)] * 1_000)
    try:
        client.search("Points.L2", "1.0", many, request_timeout_seconds=0.001)
    except requests.Timeout:
        pass
    except VektonnApiError as error:
        assert error.error is not None and error.error.error_messages
        assert error.status >= 500
    client.search("Points.L2", "1.0", QUERY)


def test_two_clients_at_once(url):
    """Two threads upload and search beside each other; each finds what it has uploaded, and nothing is mixed up."""
    failures = []

    def work(name, ids):
        try:
            client = Vektonn(url)
            for id in ids:
                place = dense(-1e6 - 100.0 * id, 0.0, 0.0)
                client.upload("Points.Source", "1.0", [point(place, id=id, group=name, text=f"{name} {id}")])
                found = eventually(
                    lambda: search(client, "Points.L2", place, k=1)[0], lambda found: found_ids(found) == [id]
                )
                assert values(found[0])["text"].string == f"{name} {id}"
        except BaseException as failure:  # a thread's failure must fail the test
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(name, fresh_ids(40))) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_many_requests_of_one_asynchronous_client(url):
    ids = fresh_ids(50)
    places = {id: dense(-1e6 - 100.0 * id, 7.0, 0.0) for id in ids}

    async def upload_and_search():
        client = VektonnAsync(url)
        uploads = (
            client.upload("Points.Source", "1.0", [point(place, id=id, group="async", text=str(id))])
            for id, place in places.items()
        )
        await asyncio.gather(*uploads)
        deadline = asyncio.get_running_loop().time() + 10
        while True:
            queries = (
                client.search("Points.L2", "1.0", SearchQuery(k=1, query_vectors=[place])) for place in places.values()
            )
            found = [found_ids(result[0].nearest_data_points) for result in await asyncio.gather(*queries)]
            if found == [[id] for id in ids]:
                return
            assert asyncio.get_running_loop().time() < deadline, found

    asyncio.run(upload_and_search())


def test_a_server_that_is_not_there():
    with pytest.raises(requests.ConnectionError):
        Vektonn("http://127.0.0.1:9").search("Points.L2", "1.0", QUERY)
