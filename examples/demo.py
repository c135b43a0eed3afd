"""The whole story in one page: start a bulk operation on a practice server, ask, wait, see it finished."""

from __future__ import annotations

import saymon_bulk
from saymon_bulk.testing import PracticeServer


def main() -> None:
    with PracticeServer("login", "password", finishes_after=2.0) as server:
        client = saymon_bulk.Client(server.host, "login", "password")
        search = {"name": {"$regex": "^CPU$"}}
        bulk = [{"properties.createOrModify": {"name": "Room", "value": "7"}}]
        bulk_id = client.start_bulk(search, bulk)["bulkId"]
        print(f"A practice server on {server.host} runs bulk operation {bulk_id}.")
        print(saymon_bulk.get_bulk_status(server.host, bulk_id, "login", "password"))
        print(client.wait_for_bulk(bulk_id, interval=0.5))


if __name__ == "__main__":
    main()
