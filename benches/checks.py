"""Before anything is timed: does every contender do the work that it will be timed at?"""

from __future__ import annotations

from collections.abc import Callable

from clients import FUNCTIONS
from measure import Bench, bare, raw, work
from server import AUTHORIZATION, Server
from tasks import REQWEST, client_of

# Calls at each site. "Kept" is: at least three of four went over a connection that was there already.
ONE_BY_ONE = {"plain": 20, "tls": 20, "closing": 4}
AT_ONCE = {"plain": 2000, "tls": 2000}


def check(bench: Bench, server: Server, contender: str) -> dict[str, object]:
    """What was seen; an exception tells why this contender cannot take part."""
    if contender == "raw C":
        return check_program(bench, server, raw, tls=bench.raw_tls)
    if contender == REQWEST:
        return check_program(bench, server, bare, tls=True)
    client = client_of(contender)
    how = contender.removesuffix(client).strip() or "one by one"
    if contender in (*FUNCTIONS, client):
        how, client = "one by one", contender
    calls = ONE_BY_ONE if how == "one by one" else AT_ONCE
    access = bench.access(server, "tls")
    sites = {site: server.url(site) for site in calls}
    work(bench, "check", client, access["ca"], how=how, name=client, access=access, sites=sites, calls=calls)
    seen: dict[str, object] = {}
    for site in calls:
        requests, connections, resumed = server.seen(f"{how} {client} {site}-".replace(" ", "-"), calls[site])
        if requests != calls[site]:
            raise RuntimeError(f"{requests} requests for {calls[site]} ids ({site})")
        if site == "closing":
            if connections != requests:
                raise RuntimeError(f"{connections} connections for {requests} calls where each should need a new one")
            seen["resumes TLS sessions"] = resumed > 0
        elif connections * 4 > requests:
            raise RuntimeError(f"does not keep its connections: {connections} for {requests} calls ({site})")
        else:
            seen[f"connections, {site}"] = f"{connections} for {requests} calls"
    # In a process of its own: some read the certificates once.
    stranger = bench.access(server, "tls", "stranger")
    seen["unknown CA"] = work(bench, "refused", client, stranger["ca"], how=how, name=client, access=stranger)["error"]
    return seen


Program = Callable[[Bench, Server, str, str, str, float], "dict[str, float]"]


def check_program(bench: Bench, server: Server, program: Program, *, tls: bool) -> dict[str, object]:
    """It checks every answer itself, and keeps one connection."""
    for site in ("plain", "tls") if tls else ("plain",):
        program(bench, server, site, AUTHORIZATION, "ca", 0.01)
        expect_failure(bench, server, program, site, "Basic d3Jvbmc=", "ca")
    if tls:
        expect_failure(bench, server, program, "tls", AUTHORIZATION, "stranger")
    return {"TLS": tls}


def expect_failure(bench: Bench, server: Server, program: Program, site: str, authorization: str, trust: str) -> None:
    try:
        program(bench, server, site, authorization, trust, 0.01)
    except RuntimeError as error:
        if any(why in str(error) for why in ("not 200", "401", "refused", "UnknownIssuer")):
            return
        raise
    raise RuntimeError(f"not refused: {authorization}, {trust}")
