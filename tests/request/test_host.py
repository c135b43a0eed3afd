"""Host: what is accepted, what it becomes on the wire, and what is refused."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
import saymon_bulk
from peer import ID, PASSWORD, Peer, ask, failure, headers
from processes import run_script

# Asks each host of argv[1]; prints a JSON list of [outcome, host of the error].
ASK_ALL = """
import json, sys, warnings, saymon_bulk
warnings.simplefilter("ignore")
outcomes = []
for host in json.loads(sys.argv[1]):
    try:
        saymon_bulk.get_bulk_status(host, "op", "login", "pass-word-x")
        outcomes.append(["answered", None])
    except Exception as error:
        outcomes.append([type(error).__name__, getattr(error, "host", str(error))])
print(json.dumps(outcomes))
"""

# Given -> the authority that a proxy is asked for, without a default port.
PLAIN = {
    "http://monitor.example.com": "monitor.example.com",
    "http://monitor.example.com/": "monitor.example.com",
    "http://Monitor.EXAMPLE.com:8080": "monitor.example.com:8080",
    "http://monitor.example.com:80/": "monitor.example.com",
    "http://monitor.example.com:443": "monitor.example.com:443",
    "http://my_host:8080": "my_host:8080",
    "http://192.0.2.7:8080": "192.0.2.7:8080",
    "http://[2001:db8::7]:8080": "[2001:db8::7]:8080",
    "http://[2001:DB8:0::7]/": "[2001:db8::7]",
    "http://2001:db8::7": "[2001:db8::7]",
    "http://b\u00fccher.example": "xn--bcher-kva.example",
    "http://\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444:8080": ("xn--e1afmkfd.xn--p1ai:8080"),
    "http://\u041f\u0420\u0418\u041c\u0415\u0420.\u0440\u0444": ("xn--e1afmkfd.xn--p1ai"),
    "http://xn--e1afmkfd.xn--p1ai": "xn--e1afmkfd.xn--p1ai",
    "http://https": "https",
}

# Given -> what CONNECT names.
SECURE = {
    "monitor.example.com": "monitor.example.com:443",
    "monitor.example.com/": "monitor.example.com:443",
    "https://monitor.example.com": "monitor.example.com:443",
    "HTTPS://Monitor.Example.com/": "monitor.example.com:443",
    "monitor.example.com:8443": "monitor.example.com:8443",
    "monitor.example.com:80": "monitor.example.com:80",
    "https://monitor.example.com:8443/": "monitor.example.com:8443",
    "192.0.2.7": "192.0.2.7:443",
    "2001:db8::7": "[2001:db8::7]:443",
    "[2001:db8::7]": "[2001:db8::7]:443",
    "https://[2001:db8::7]:8443/": "[2001:db8::7]:8443",
    "2001:db8::7:8443": "[2001:db8::7:8443]:443",
    "https": "https:443",
    "\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444": "xn--e1afmkfd.xn--p1ai:443",
}

# Each names the peer ({p}: its authority) or nothing at all.
REFUSED = [
    "",
    "a" * 64,  # a label has 63 letters at most (RFC 1035 section 2.3.4)
    "a." * 128,
    "/",
    "//",
    "//{p}",
    "http://",
    "http:///",
    "https://",
    "https:///",
    "http:",
    "http:{p}",
    "http:/{p}",
    "http:///{p}",
    "http:\\\\{p}",
    "://{p}",
    # The scheme comes first: a host called "http" would be sent the password.
    "https://http://{p}",
    "http://http://{p}",
    "https://https://{p}",
    "http://https://{p}/",
    # userinfo
    "http://user@{p}",
    "http://user:word@{p}",
    "http://@{p}",
    "http://:@{p}",
    "user@{p}",
    "http://{p}@{p}",
    # path, query, fragment, backslash, percent
    "http://{p}//",
    "http://{p}/x",
    "http://{p}/node/api",
    "http://{p}/.",
    "http://{p}/..",
    "{p}/x",
    "http://{p}?",
    "http://{p}/?",
    "http://{p}?a=b",
    "http://{p}#",
    "http://{p}/#",
    "http://{p}#a",
    "http://{p}\\",
    "http://{p}\\x",
    "http://\\{p}",
    "http://{p}\\@example.com",
    "http://%31{p}",
    "http://{p}%2f",
    "http://{p}%",
    "http://12%37.0.0.1",
    "http://[fe80::1%25lo]",
    "http://[fe80::1%lo]",
    # ports
    "http://127.0.0.1:",
    "http://127.0.0.1:/",
    "127.0.0.1:",
    "http://127.0.0.1:0",
    "http://127.0.0.1:00",
    "http://127.0.0.1:65536",
    "http://127.0.0.1:99999999999999999999",
    "http://127.0.0.1:-80",
    "http://127.0.0.1:+80",
    "http://127.0.0.1:8o",
    "http://127.0.0.1:0x50",
    "http://127.0.0.1:\u0668\u0660",
    "http://127.0.0.1:\uff18\uff10",
    "http://{p}:80",
    "http://:80",
    ":80",
    ":",
    "https://:",
    # IPv6
    "[]",
    "[]:80",
    "[::1",
    "::1]",
    "[::1]:",
    "[::1]:0",
    "[::1]:65536",
    "[::1]80",
    "[::1]x:80",
    "x[::1]",
    "[[::1]]",
    "[127.0.0.1]",
    "[localhost]:80",
    "1::2::3",
    ":::",
    "::12345",
    "::g",
    # other schemes
    "ftp://{p}",
    "file:///etc/passwd",
    "ws://{p}",
    "httpx://{p}",
    "http+unix://{p}",
    "unix:///run/x.sock",
    "data:text/plain,x",
    "javascript:alert(1)",
    # signs that stand in no name
    "http://a b",
    "http://a<b>",
    'http://a"b"',
    "http://a`b",
    "http://a^b",
    "http://a|b",
    "{host}",
    "http://{host}:80",
    "http://a..b",
    "http://.",
    "http://..",
    "http://.a",
    # letters that a lax reading of IDNA turns into the refused ones
    "http://{p}\uff0fx",
    "http://user\uff20{p}",
    "http://{p}\uff1fx",
    "http://{p}\uff03x",
    "http://{p}\uff05",
    "http://{p}\uff3cx",
    "http://a\u2100b.example",
]

BLANK = [
    *map(chr, range(0x21)),
    "\x7f",
    "\x80",
    "\x85",
    "\x9f",
    "\xa0",
    "\u2003",
    "\u2028",
    "\u3000",
]


def refused(host: Any, *words: str) -> None:
    with pytest.raises(ValueError, match="host") as caught:
        ask(host)
    assert not isinstance(caught.value, (saymon_bulk.SaymonError, UnicodeError))
    assert PASSWORD not in str(caught.value)
    for word in words:
        assert word not in str(caught.value)


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_host_header_is_the_authority(peer: Peer, slash: str) -> None:
    assert ask(peer.host + slash) == {"finished": True}
    assert dict(headers(peer.requests[0]))["host"] == peer.authority


@pytest.mark.parametrize("slash", ["", "/"])
def test_ipv6_in_brackets(peer6: Peer, slash: str) -> None:
    assert ask(peer6.host + slash) == {"finished": True}
    assert dict(headers(peer6.requests[0]))["host"] == peer6.authority


@pytest.mark.parametrize("scheme", ["http://", "HTTP://", "Http://"])
def test_the_scheme_is_read_in_any_case(peer: Peer, scheme: str) -> None:
    assert ask(scheme + peer.authority) == {"finished": True}


@pytest.mark.parametrize("scheme", ["", "https://", "HTTPS://"])
def test_tls_is_what_no_scheme_means(peer: Peer, scheme: str) -> None:
    peer.answer(lambda wire: None)
    error = failure(scheme + peer.authority)
    assert isinstance(error, saymon_bulk.TransportError)
    assert error.host == f"https://{peer.authority}"
    assert peer.requests[0].startswith(b"\x16\x03"), "not a TLS handshake"


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("http://127.0.0.1:{port}", "http://127.0.0.1:{port}"),
        ("HTTP://127.0.0.1:{port}/", "http://127.0.0.1:{port}"),
        ("127.0.0.1:{port}", "https://127.0.0.1:{port}"),
        ("https://127.0.0.1:{port}/", "https://127.0.0.1:{port}"),
        ("http://LocalHost:{port}", "http://localhost:{port}"),
    ],
)
def test_errors_name_the_normalised_origin(peer: Peer, given: str, origin: str) -> None:
    port = peer.port
    peer.answer(lambda wire: None)
    assert failure(given.format(port=port)).host == origin.format(port=port)


def test_a_bare_ipv6_address_is_bracketed() -> None:
    # Whatever listens on port 443 here, it is not a SAYMON that knows this password.
    assert failure("::1", verify=True).host == "https://[::1]"
    assert failure("[::1]/").host == "https://[::1]"
    assert failure("https://::1").host == "https://[::1]"
    assert failure("https://[0:0::1]:443").host == "https://[::1]"


def test_plain_names_reach_a_proxy_in_their_one_form(peer: Peer) -> None:
    # The document's own 404, so that every error tells its origin.
    done = run_script(ASK_ALL, json.dumps(list(PLAIN)), HTTP_PROXY=peer.host)
    outcomes = json.loads(done.stdout)
    assert outcomes == [["answered", None]] * len(PLAIN)
    expected = [f"GET http://{authority}/node/api/bulk/op/status HTTP/1.1" for authority in PLAIN.values()]
    lines = [request.partition(b"\r\n")[0].decode() for request in peer.requests]
    assert lines == expected
    hosts = [dict(headers(request))["host"] for request in peer.requests]
    assert hosts == list(PLAIN.values())


def test_secure_names_reach_a_proxy_in_their_one_form(peer: Peer) -> None:
    peer.answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    done = run_script(ASK_ALL, json.dumps(list(SECURE)), HTTPS_PROXY=peer.host)
    outcomes = json.loads(done.stdout)
    # No proxy is asked for an address of IPv6, which the HTTP library would write as a name.
    targets = [target for target in SECURE.values() if not target.startswith("[")]
    kinds = ["TransportError" if target in targets else "ValueError" for target in SECURE.values()]
    assert [kind for kind, _ in outcomes] == kinds
    lines = [request.partition(b"\r\n")[0].decode() for request in peer.requests]
    # The second one asks for the reason. It is an http URL, which leaves out port 80.
    times = {target: 1 if target.endswith(":80") else 2 for target in targets}
    assert lines == [f"CONNECT {target} HTTP/1.1" for target in targets for _ in range(times[target])]


@pytest.mark.parametrize("host", REFUSED)
def test_refused_before_any_network_use(peer: Peer, host: str) -> None:
    refused(host.replace("{p}", peer.authority))
    assert peer.connections == 0


@pytest.mark.parametrize("blank", BLANK, ids=ascii)
def test_blanks_and_controls_are_refused_anywhere(peer: Peer, blank: str) -> None:
    host = peer.host
    places = (0, 4, len("http://"), len("http://127"), len(host) - 2, len(host))
    for place in places:
        refused(host[:place] + blank + host[place:])
    refused(blank)
    assert peer.connections == 0


@pytest.mark.parametrize("text", ["\ud800", "http://a\udfff.example", "\udc80:80"])
def test_lone_surrogates_are_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("host", [None, 5, True, b"localhost", ["localhost"], PurePosixPath("localhost")])
def test_other_types_are_refused(host: Any) -> None:
    with pytest.raises(TypeError, match="host") as caught:
        ask(host)
    assert PASSWORD not in str(caught.value)


def test_a_refusal_does_not_repeat_the_password() -> None:
    refused(f"https://operator:{PASSWORD}@monitor.example.com", PASSWORD)
    refused(f"https://monitor.example.com/?password={PASSWORD}", PASSWORD)


def test_the_host_of_a_refusal_is_told_apart_from_a_bad_id(peer: Peer) -> None:
    with pytest.raises(ValueError, match=r"^(?!.*\bhost\b).*\bid\b"):
        ask(peer.host, id="")
    assert failure("https://" + peer.authority, id=ID).id == ID
