"""The types of answers in pydantic and FastAPI: below Python 3.12 pydantic wants the TypedDict of typing_extensions."""

from __future__ import annotations

import sys

import pytest
from processes import run_script

MODELS = """
import pydantic, saymon_bulk
from typing import List, Dict

class Report(pydantic.BaseModel):
    started: saymon_bulk.BulkStart
    statuses: Dict[str, saymon_bulk.BulkStatus]

report = Report(started={"bulkId": "a", "finished": False}, statuses={"a": {"finished": True}})
print(report.model_dump_json())
print(pydantic.TypeAdapter(saymon_bulk.BulkStatus).json_schema()["required"])
try:
    Report(started={"finished": False}, statuses={"a": {}})
except pydantic.ValidationError as error:
    print(error.error_count())
"""

ROUTES = """
import fastapi, fastapi.testclient, saymon_bulk

app = fastapi.FastAPI()

@app.get("/bulk/{id}")
async def status(id: str) -> saymon_bulk.BulkStatus:
    return {"finished": True}

client = fastapi.testclient.TestClient(app)
print(client.get("/bulk/a").json())
print(list(client.get("/openapi.json").json()["components"]["schemas"]["BulkStatus"]["properties"]))
"""


def test_in_a_model_of_pydantic() -> None:
    pytest.importorskip("pydantic", reason="pydantic from PyPI is not installed")
    done = run_script(MODELS)
    assert done.stdout.splitlines() == [
        '{"started":{"bulkId":"a","finished":false},"statuses":{"a":{"finished":true}}}',
        "['finished']",
        "2",
    ], done.stderr


def test_as_a_response_of_fastapi() -> None:
    for name in ("fastapi", "httpx"):
        pytest.importorskip(name, reason=f"{name} from PyPI is not installed")
    done = run_script(ROUTES)
    assert done.stdout.splitlines() == ["{'finished': True}", "['finished']"], done.stderr


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 and later need no typing_extensions")
def test_without_typing_extensions_the_types_are_typings() -> None:
    code = """
import sys
sys.modules["typing_extensions"] = None
import saymon_bulk
print(saymon_bulk.BulkStatus.__required_keys__, saymon_bulk.BulkStart(bulkId="a", finished=True))
"""
    done = run_script(code)
    assert done.stdout == "frozenset({'finished'}) {'bulkId': 'a', 'finished': True}\n", done.stderr


def test_the_import_of_the_package_does_without_either() -> None:
    code = """
import sys
before = {*sys.modules}
import saymon_bulk
print(sorted({"typing", "typing_extensions", "inspect", "saymon_bulk._types"} & ({*sys.modules} - before)))
"""
    assert run_script(code).stdout == "[]\n"
