"""The published Vektonn client against a server that `cargo xtask python` has started.

Every test that takes `client` runs twice: with the synchronous and with the asynchronous client.
"""

import asyncio
import os

import pytest
from vektonn import Vektonn, VektonnAsync


class AsyncAsSync:
    """The asynchronous client behind the synchronous client's methods."""

    def __init__(self, base_url):
        self._client = VektonnAsync(base_url)

    def upload(self, *args, **kwargs):
        return asyncio.run(self._client.upload(*args, **kwargs))

    def search(self, *args, **kwargs):
        return asyncio.run(self._client.search(*args, **kwargs))


@pytest.fixture(scope="session")
def url():
    return os.environ["VEKTONN_URL"]


@pytest.fixture(params=[Vektonn, AsyncAsSync], ids=["sync", "async"])
def client(request, url):
    return request.param(url)
