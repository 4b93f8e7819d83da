"""The two published quick starts, against `examples/quick-start`.

One is the program of the examples repository, with its documented output. The other stands in the client's own
README, which pip installs along: its code blocks are run as they are, except for the address.
"""

import contextlib
import importlib.metadata
import io
import os
import pathlib
import re

import pytest
from helpers import deletion, eventually
from vektonn import Vektonn
from vektonn.dtos import Attribute, AttributeValue, InputDataPoint, SearchQuery, Vector

DOCUMENTED_OUTPUT = """\
For query vector [0.0, 2.0] 2 nearest data points are:
 - "first data point" with id = 1, vector = [0.0, 1.0], distance = 1.0
 - "third data point" with id = 3, vector = [-0.5, 0.0], distance = 4.25
"""


@pytest.fixture
def address():
    url = os.environ["VEKTONN_QUICK_START_URL"]
    yield url
    client = Vektonn(url)
    client.upload("QuickStart.Source", "1.0", [deletion(id=id, payload="") for id in (1, 2, 3)])
    query = SearchQuery(k=10, query_vectors=[Vector(is_sparse=False, coordinates=[0.0, 0.0])])
    eventually(
        lambda: client.search("QuickStart.Index", "1.0", query)[0].nearest_data_points,
        lambda found: found == [],
    )


def run_blocks(readme, address):
    """Runs the Python blocks of a Markdown text as one program; returns the lines that it prints."""
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    program = "\n".join(blocks).replace("http://localhost:8081", address)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(program, "README", "exec"), {})
    return output.getvalue().splitlines()


def test_the_quick_start_prints_its_documented_output(address, capsys):
    client = Vektonn(address)
    client.upload(
        data_source_name="QuickStart.Source",
        data_source_version="1.0",
        input_data_points=[
            InputDataPoint(
                attributes=[
                    Attribute(key="id", value=AttributeValue(int64=number)),
                    Attribute(key="payload", value=AttributeValue(string=f"{word} data point")),
                ],
                vector=Vector(is_sparse=False, coordinates=coordinates),
            )
            for number, word, coordinates in [
                (1, "first", [0.0, 1.0]),
                (2, "second", [1.0, 0.0]),
                (3, "third", [-0.5, 0.0]),
            ]
        ],
    )
    query = SearchQuery(k=2, query_vectors=[Vector(is_sparse=False, coordinates=[0.0, 2.0])])

    # The published program searches at once; it must not print an empty list.
    result = client.search(index_name="QuickStart.Index", index_version="1.0", search_query=query)[0]

    print(f"For query vector {result.query_vector.coordinates} {query.k} nearest data points are:")
    for found in result.nearest_data_points:
        of = {attribute.key: attribute.value for attribute in found.attributes}
        print(
            f' - "{of["payload"].string}" with id = {of["id"].int64}, '
            f"vector = {found.vector.coordinates}, distance = {found.distance}"
        )
    assert capsys.readouterr().out == DOCUMENTED_OUTPUT


def test_the_clients_own_readme_runs_as_it_is(address):
    readme = importlib.metadata.metadata("vektonn").get_payload()
    heading, *found = run_blocks(readme, address)
    assert heading == "For query vector [1.2, 3.4] 10 nearest data points are:"
    assert len(found) == 1
    line, distance = found[0].rsplit(" = ", 1)
    assert line == ' - "sample data point" with id = 1, vector = [3.14, 2.71], distance'
    assert float(distance) == pytest.approx((3.14 - 1.2) ** 2 + (2.71 - 3.4) ** 2, rel=1e-6)


def test_this_repositorys_readme_runs_as_it_is(address):
    readme = (pathlib.Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    output = run_blocks(readme, address)
    assert len(output) == 1
    assert "sample data point" in output[0]
    assert "coordinates=[3.14, 2.71]" in output[0]
