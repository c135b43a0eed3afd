"""The whole story in one page, on a practice server: ask and wait; then see what would change, change it, check it."""

from __future__ import annotations

import saymon_bulk
from saymon_bulk.testing import PracticeServer


def main() -> None:
    with PracticeServer("login", "password", finishes_after=2.0) as server:
        for number, room in enumerate(("5", "5", "7")):
            properties = [{"name": "Room", "value": room}]
            server.objects[f"a{number}"] = {"id": f"a{number}", "name": "CPU", "properties": properties}
        client = saymon_bulk.Client(server.host, "login", "password")

        print(f"A practice server on {server.host} clones an object.")
        bulk_id = client.start_clone("62d7e58056d203149a08001b")["bulkId"]
        print(saymon_bulk.get_bulk_status(server.host, bulk_id, "login", "password"))
        print(client.wait_for_bulk(bulk_id, interval=0.5))

        print("\nWhich objects would a bulk change?")
        search = {"name": {"$regex": "^CPU$"}}
        bulk = [{"properties.createOrModify": {"name": "Room", "value": "7"}}]
        plan = client.plan_bulk(search, bulk)
        print(plan)

        print("\nChange exactly these. One of them is skipped, and the server does not say so.")
        server.skip_next()
        report = client.apply_plan(plan, interval=0.5, settle=0)
        print(report)


if __name__ == "__main__":
    main()
