"""The whole story in one page: start a bulk operation on a practice server, ask, wait, see it finished."""

from __future__ import annotations

import base64
import json
import urllib.request

import saymon_bulk
from saymon_bulk.testing import PracticeServer


def start_bulk(host: str, login: str, password: str) -> str:
    """What a script of yours does to change objects: POST /node/api/bulk/objects, which answers with the operation's id."""
    token = base64.b64encode(f"{login}:{password}".encode()).decode()
    request = urllib.request.Request(
        f"{host}/node/api/bulk/objects",
        data=json.dumps({"search": {"tag": "rack-7"}, "bulk": [{"op": "set", "name": "moved"}]}).encode(),
        headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request) as answer:
        return str(json.load(answer)["bulkId"])


def main() -> None:
    with PracticeServer("login", "password", finishes_after=2.0) as server:
        id = start_bulk(server.host, "login", "password")
        print(f"A practice server on {server.host} runs bulk operation {id}.")
        print(saymon_bulk.get_bulk_status(server.host, id, "login", "password"))
        print(saymon_bulk.wait_for_bulk(server.host, id, "login", "password", interval=0.5))


if __name__ == "__main__":
    main()
