"""search_objects: what is sent, what is read, and that a part of an answer is never an answer."""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Callable

import pytest
from peer import PASSWORD, Act, Peer, Wire, at, chunked, closing, response, saying
from saymon_bulk import (
    AuthError,
    Client,
    HTTPStatusError,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    SaymonError,
    TransportError,
)

Search = Callable[..., list[dict[str, Any]]]
CRITERIA = {"name": {"$regex": "^CPU$", "$options": "i"}}
SECRET_VALUE = "the value of an object"


def blocking(client: Client, *arguments: Any, **more: Any) -> list[dict[str, Any]]:
    return client.search_objects(*arguments, **more)


def awaited(client: Client, *arguments: Any, **more: Any) -> list[dict[str, Any]]:
    return asyncio.run(client.search_objects_async(*arguments, **more))


both_ways = pytest.mark.parametrize("search", [blocking, awaited])


def park(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{n:024x}",
            "name": f"Стойка {n} “7” \\ 😀",
            "weight": n - 0.5 if n % 2 else 2**70 + n,
            "tags": [],
            "geoposition": [37.6, -55.75],
            "properties": [{"name": "Room", "value": "7\u0000\n", "x": None, "deep": [[{"a": {"id": 1}}]]}],
            "background": True,
        }
        for n in range(count)
    ]


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("count", [0, 1, 16, 17, 200, 5000])
def test_the_objects_arrive_as_the_server_has_them(peer: Peer, search: Search, count: int) -> None:
    objects = park(count)
    peer.answer(response(json.dumps(objects)))
    assert search(at(peer), CRITERIA) == objects
    found = search(at(peer), CRITERIA, fields=["name", "geoposition", "no such field"])
    assert found == [{name: one[name] for name in ("id", "name", "geoposition")} for one in objects]
    assert [list(one) for one in found] == [["id", "name", "geoposition"]] * count


@both_ways
@pytest.mark.parametrize(
    ("more", "body"),
    [
        ({}, {"search": CRITERIA}),
        ({"include_client_data": False}, {"search": CRITERIA}),
        ({"include_client_data": True}, {"search": CRITERIA, "options": {"includeClientData": True}}),
        ({"fields": []}, {"search": CRITERIA}),
    ],
)
def test_what_is_sent(peer: Peer, search: Search, more: dict[str, Any], body: Any) -> None:
    peer.answer(response("[]"))
    assert search(at(peer), CRITERIA, **more) == []
    (request,) = peer.requests
    head, _, sent = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /node/api/objects/search HTTP/1.1\r\n")
    assert b"\r\ncontent-type: application/json\r\n" in head.lower()
    assert b"x-request-id" not in head.lower()
    assert json.loads(sent) == body


@both_ways
def test_an_empty_search_finds_every_object(peer: Peer, search: Search) -> None:
    peer.answer(response(json.dumps(park(2))))
    assert len(search(at(peer), {})) == 2
    assert peer.requests[0].endswith(b'{"search":{}}')


@pytest.mark.parametrize("name", ["Number", "RawValue"])
def test_no_name_is_special(peer: Peer, name: str) -> None:
    """The reader of JSON has names of its own for numbers and for text as it came."""
    objects = [{"id": "a", "x": {f"$serde_json::private::{name}": "1"}, f"$serde_json::private::{name}": {"y": 2}}]
    for body in (json.dumps(objects), json.dumps(objects).replace("$", "\\u0024")):
        peer.answer(response(body))
        assert at(peer).search_objects(CRITERIA) == objects
        assert at(peer).search_objects(CRITERIA, fields=["x"]) == [{"id": "a", "x": objects[0]["x"]}]


def test_names_of_fields_are_shared(peer: Peer) -> None:
    peer.answer(response(json.dumps(park(50))))
    first, *others = at(peer).search_objects(CRITERIA)
    names = [id(name) for name in first["properties"][0]]
    assert all([id(name) for name in one["properties"][0]] == names for one in others)


@pytest.mark.parametrize("fields", [("name",), {"name"}, {"name": 1}, iter(["name"]), collections.deque(["name"] * 3)])
def test_fields_may_be_any_iterable(peer: Peer, fields: Iterable[str]) -> None:
    peer.answer(response(json.dumps([{"id": "a", "name": "b", "c": 1}])))
    assert at(peer).search_objects(CRITERIA, fields=fields) == [{"id": "a", "name": "b"}]


def test_the_older_form_of_an_answer(peer: Peer) -> None:
    peer.answer(response(json.dumps({"total": 3, "objects": park(3), "more": {"objects": []}})))
    assert at(peer).search_objects(CRITERIA) == park(3)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="no garbage collection in the middle of native code")
@pytest.mark.parametrize("fields", [None, ["name"]])
def test_no_thread_of_ours_makes_objects_of_python(peer: Peer, fields: list[str] | None) -> None:
    """A fork or the exit would catch it there. The garbage collector runs where objects are made."""
    known, makers, strangers = set(sys._current_frames()), set(), set()

    def note(*_: object) -> None:
        makers.add(threading.get_ident())
        if threading.get_ident() not in {*known, *(one.ident for one in threading.enumerate())}:
            strangers.add(threading.get_ident())

    peer.answer(response(json.dumps(park(2000))))
    thresholds = gc.get_threshold()
    gc.callbacks.append(note)
    gc.set_threshold(1)
    try:
        assert len(awaited(at(peer), CRITERIA, fields=fields)) == 2000
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(note)
    assert threading.get_ident() in makers
    assert not strangers


@both_ways
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "an empty body"),
        ("<html>Log in</html>", "no JSON array of objects"),
        ("null", "no JSON array of objects"),
        ('{"code":"X"}', "without `objects`"),
        ('{"objects":{}}', "not an array"),
        ("[1]", "item 0 is not an object"),
        ('[{"name":"x"}]', "item 0 has no `id`"),
        ('[{"id":7}]', "not a string"),
        ('[{"id":""}]', "empty `id`"),
        ('[{"id":"a","id":"b"}]', "`id` twice"),
        ('[{"id":"a"},{"id":"a"}]', "item 1 has the `id` of another one"),
        ('[{"id":"a"}', "not complete"),
        ('[{"id":"a"},{"id":"b"', "not complete"),
        ('[{"id":"a"}]]', "more than one JSON value"),
        ('[{"id":"a","x":1e999}]', "too large"),
        ('[{"id":"a","x":NaN}]', "not valid JSON"),
        ('[{"id":"a","x":' + "[" * 150 + "]" * 150 + "}]", "item 0 cannot be read: nested too deeply"),
        ('[{"id":"a","x":' + "9" * 4301 + "}]", "out of range"),
        ('[{"id":"a"},{"id":"b","x":"\\ud800"}]', "an array whose item 1 cannot be read: half of a surrogate pair"),
        (b'[{"id":"a","x":"\xff"}]', "unicode"),
        ('{"objects":[],"x":[' + "0," * 40_000 + "0]}", "more than 64 KiB beside the array of its objects"),
        ('{"items":[' + "{}," * 30_000 + "{}]}", "more than 64 KiB beside the array of its objects"),
        ('{"x":[,],"objects":[]}', "an object that is not valid JSON beside its objects"),
    ],
    ids=range(23),
)
def test_an_answer_of_another_shape(peer: Peer, search: Search, body: str | bytes, words: str) -> None:
    peer.answer(response(body))
    with pytest.raises(ResponseError) as caught:
        search(at(peer), CRITERIA)
    assert words in str(caught.value)


@pytest.mark.parametrize("number", ["1", "17", "200"])
def test_an_error_shows_no_value_of_an_object(peer: Peer, number: str) -> None:
    good = json.dumps([{"id": f"{n}", "name": SECRET_VALUE} for n in range(int(number))])
    first = json.dumps([{"name": SECRET_VALUE, "id": 7}])
    for broken in (good[:-1] + ',{"id":7}]', good[:-1], good + "]", first):
        for body in (broken, '{"objects":' + broken + "}"):
            peer.answer(response(body))
            with pytest.raises(ResponseError) as caught:
                at(peer).search_objects(CRITERIA)
            assert SECRET_VALUE not in str(caught.value)


@both_ways
@pytest.mark.parametrize("status", [200, 201, 206, 299])
@pytest.mark.parametrize("form", ["{}", '{{"result": [{}]}}', " [[{}]]", '{{"objects": {}}}', '{{"message": "{}"}}'])
def test_data_in_another_form_stands_in_no_error(peer: Peer, search: Search, status: int, form: str) -> None:
    one = json.dumps({"id": 7, "properties": [{"name": "password", "value": SECRET_VALUE}]})
    peer.answer(response(form.format(one.replace('"', '\\"') if "message" in form else one), status))
    with pytest.raises(SaymonError) as caught:
        search(at(peer), CRITERIA)
    told = str(caught.value) + json.dumps(caught.value.to_dict()) + getattr(caught.value, "body", "")
    assert SECRET_VALUE not in told


def test_an_error_quotes_a_login_page(peer: Peer) -> None:
    peer.answer(response("<html>Log in: " + PASSWORD, 200, content_type="text/html"))
    with pytest.raises(ResponseError, match=r"text/html; it begins: <html>Log in: \*\*\*"):
        at(peer).search_objects(CRITERIA)


@pytest.mark.slow
@both_ways
def test_a_cut_answer_is_an_error_wherever_it_is_cut(peer: Peer, search: Search) -> None:
    whole = response(json.dumps(park(3)))
    client = at(peer)
    for end in range(whole.index(b"\r\n\r\n") + 4, len(whole), 23):
        peer.answer(closing(whole[:end]))
        with pytest.raises(TransportError):
            search(client, CRITERIA)
    body = json.dumps(park(3)).encode()
    for end in range(1, len(body), 23):
        peer.answer(closing(chunked(body[:end], end=b"")))
        with pytest.raises(TransportError):
            search(client, CRITERIA)


@pytest.mark.slow
def test_pieces_of_any_size(peer: Peer) -> None:
    body = json.dumps(park(40), ensure_ascii=False).encode()
    for size in (1, 2, 3, 7, 1000):
        peer.answer(chunked(*(body[at : at + size] for at in range(0, len(body), size))))
        assert at(peer).search_objects(CRITERIA) == park(40)


@both_ways
def test_the_time_limit_covers_the_whole_answer(peer: Peer, search: Search) -> None:
    def drip(wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n")
        wire.drip((b"1\r\n \r\n" for _ in range(1_000_000)), 0.02)

    peer.answer(drip)
    with pytest.raises(RequestTimeoutError, match=r"within 0\.5 s"):
        search(at(peer, request_timeout=0.5), CRITERIA)


@both_ways
def test_a_kept_connection_that_died_is_no_failure(peer: Peer, search: Search) -> None:
    def leave(wire: Wire) -> None: ...

    client = at(peer)
    peer.answer(response("[]"), leave, response(json.dumps(park(1))))

    async def twice() -> list[Any]:
        return [await client.search_objects_async(CRITERIA) for _ in range(2)]

    assert (asyncio.run(twice()) if search is awaited else [search(client, CRITERIA), search(client, CRITERIA)]) == [
        [],
        park(1),
    ]
    assert len(peer.requests) == 3


@both_ways
def test_a_lost_answer_is_not_asked_for_again(peer: Peer, search: Search) -> None:
    peer.answer(saying(b""))
    with pytest.raises(TransportError) as caught:
        search(at(peer), CRITERIA)
    assert caught.value.transient
    assert len(peer.requests) == 1


@both_ways
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, HTTPStatusError), (401, AuthError), (403, AuthError), (404, NotFoundError), (503, HTTPStatusError)],
)
def test_errors_of_the_server(peer: Peer, search: Search, status: int, kind: type[SaymonError]) -> None:
    peer.answer(response('{"code":"X","message":"because"}', status))
    with pytest.raises(kind, match="search for objects: HTTP") as caught:
        search(at(peer), CRITERIA)
    assert caught.value.id is None
    assert "because" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "more", "kind", "words"),
    [
        ((None,), {}, TypeError, "search must be a mapping, not NoneType"),
        (("CPU",), {}, TypeError, "search must be a mapping"),
        (([],), {}, TypeError, "search must be a mapping"),
        (({"search": {}},), {}, ValueError, "the criteria alone"),
        (({"search": {}, "options": {}},), {}, ValueError, "the criteria alone"),
        (({"search": {}, "bulk": [], "x": 1},), {}, ValueError, "the criteria alone"),
        (({"a": float("nan")},), {}, ValueError, r"search\['a'\] is nan"),
        (({1: 2},), {}, TypeError, "not a str"),
        ((CRITERIA,), {"fields": "name"}, TypeError, "fields must be an iterable of str, not str"),
        ((CRITERIA,), {"fields": 7}, TypeError, "fields must be an iterable of str, not int"),
        ((CRITERIA,), {"fields": ["a", 7]}, TypeError, "fields: item 1 must be a str, not int"),
        ((CRITERIA,), {"fields": ["\ud800"]}, ValueError, "fields: item 0 holds a lone surrogate"),
        ((CRITERIA,), {"include_client_data": 1}, TypeError, "include_client_data must be a bool, not int"),
    ],
    ids=range(13),
)
def test_arguments_that_cannot_be_used(
    peer: Peer, arguments: Any, more: Mapping[str, Any], kind: type[Exception], words: str
) -> None:
    client = at(peer)
    with pytest.raises(kind, match=words):
        client.search_objects(*arguments, **more)
    with pytest.raises(kind, match=words):
        asyncio.run(client.search_objects_async(*arguments, **more))
    assert peer.connections == 0


def test_a_cancelled_search_drops_its_request(peer: Peer) -> None:
    silence: Act = Wire.hold
    peer.answer(silence)

    async def cancel(client: Client) -> None:
        task = asyncio.ensure_future(client.search_objects_async(CRITERIA))
        await asyncio.to_thread(peer.wait_for, lambda: len(peer.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel(at(peer)))
    peer.wait_for(lambda: peer.open == 0)
