"""What can go wrong, each also the builtin exception that fits.

Every error has one text and the attributes `host` (the server's origin) and `id` (the operation's, or None), pickles and
copies. No text and no attribute holds the password, the Authorization header or another request header.

`args` is the text and a dict of the attributes, both of JSON's types. So an error comes back whole from what keeps the class
and the args alone, as Celery does: `type(error)(*json.loads(json.dumps(error.args)))`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from ._types import BulkStatus

    _Kind = Literal["dns", "connect", "tls", "certificate", "cut", "timeout"]


class SaymonError(Exception):
    """The base of all errors of this package but ValueError and TypeError for bad arguments.

    Attributes:
        host: The server's origin, such as "https://monitor.example.com:8443".
        id: The bulk operation's id; None for a start, which has none yet.
    """

    def __init__(
        self,
        message: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        host: str | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.host: str | None = host
        self.id: str | None = id
        if attributes is not None:
            # Those of another version of this class are passed over.
            vars(self).update({name: attributes[name] for name in attributes.keys() & vars(self).keys()})

    @property
    def args(self) -> tuple[Any, ...]:
        """The text and a dict of the attributes, for JSON."""
        names = type(self).__init__.__kwdefaults__ or ()  # else what a program has added would be among them
        attributes = {name: value for name, value in vars(self).items() if name in names}
        if isinstance(self, WaitTimeoutError):
            attributes["failures"] = {id: [type(error).__name__, *error.args] for id, error in self.failures.items()}
        return (*super().args[:1], attributes)

    @args.setter
    def args(self, args: tuple[Any, ...]) -> None:
        BaseException.__init__(self, *args[:1])

    @property
    def transient(self) -> bool:
        """Whether it is worth trying again: a wait goes on after it.

        >>> TransportError("connection refused", kind="connect").transient
        True

        True of a TransportError but for a certificate that is not to be
        trusted, and of HTTP 408, 429, 500, 502, 503 and 504. False of all
        others, StartUncertainError and WaitTimeoutError among them.

        A name that does not resolve ("dns") and a failed handshake ("tls")
        are transient too. They end a wait only before its first good
        answer, when the name or the protocol may be wrong: see `kind`.
        """
        from ._core import _is_transient

        if isinstance(self, HTTPStatusError):
            return _is_transient(None, self.status_code)
        return isinstance(self, TransportError) and _is_transient(self.kind, None)

    def to_dict(self) -> dict[str, Any]:
        """The error as an object of JSON, as `saymon-bulk --json` prints it.

        >>> for item in AuthError("wrong", id="a", status_code=401).to_dict().items():
        ...     print(*item)
        id a
        finished None
        error AuthError
        message wrong
        status_code 401
        transient False

        `finished` is None in every error. `message` is the text.
        """
        return {
            "id": self.id,
            "finished": None,
            "error": type(self).__name__,
            "message": str(self),
            "status_code": getattr(self, "status_code", None),
            "transient": self.transient,
        }


class HTTPStatusError(SaymonError):
    """The server answered with another HTTP status than 200; redirects are such answers too.

    Attributes:
        status_code: The HTTP status, such as 503; 0 in an error that is made by hand without one.
        code: The error's code as the server gave it ("InvalidCredentials"), or None.
        message: The server's message, unwrapped where it stands as JSON inside a string, or None.
        body: The first 4 KiB of the answer's body as text.
        retry_after: Seconds that the server asks to wait (Retry-After, RFC 9110 section 10.2.3), or None.
    """

    def __init__(
        self,
        text: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        host: str | None = None,
        id: str | None = None,
        status_code: int = 0,
        code: str | None = None,
        message: str | None = None,
        body: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.status_code: int = status_code
        self.code: str | None = code
        self.message: str | None = message
        self.body: str = body
        self.retry_after: float | None = retry_after
        super().__init__(text, attributes, host=host, id=id)


class AuthError(HTTPStatusError, PermissionError):
    """HTTP 401 or 403: the login or password is wrong, or a permission is missing."""


class NotFoundError(HTTPStatusError, LookupError):
    """HTTP 404: the server knows no such operation, or no such object to clone. That is never "finished"."""


class TransportError(SaymonError, ConnectionError):
    """No complete HTTP answer. The text names the cause.

    Attributes:
        kind: What failed: "dns" (the name), "connect" (refused, unreachable, a proxy that makes no tunnel), "tls" (the
            handshake), "certificate" (not to be trusted), "cut" (the connection ended, or spoke no HTTP) or "timeout";
            None in an error that is made by hand without one.
    """

    def __init__(
        self,
        message: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        host: str | None = None,
        id: str | None = None,
        kind: _Kind | None = None,
    ) -> None:
        self.kind: _Kind | None = "timeout" if isinstance(self, RequestTimeoutError) else kind
        super().__init__(message, attributes, host=host, id=id)


class RequestTimeoutError(TransportError, TimeoutError):
    """One exchange, connect to last byte, took longer than `request_timeout`. Its `kind` is "timeout"."""


class ResponseError(SaymonError, ValueError):
    """HTTP 200, but not the documented JSON object: a login page, for one."""


class StartUncertainError(SaymonError):
    """A start was sent, and no answer says what came of it: the server may have started the operation or may not.

    Look at the server before you start it again: a start that is sent twice changes all its objects twice. The server's
    access log, or that of a proxy before it, tells whether a request with this X-Request-Id arrived. `__cause__` is the
    plain error. This is no ConnectionError and no TimeoutError, so that code which tries again after these does not try
    a start again.

    Attributes:
        request_id: The X-Request-Id of the start.
        status_code: The HTTP status, if there was one: 408, 5xx, or a 2xx other than 200.
        code: As for HTTPStatusError.
        message: As for HTTPStatusError.
        body: As for HTTPStatusError.
        retry_after: As for HTTPStatusError.
    """

    def __init__(
        self,
        text: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        host: str | None = None,
        id: str | None = None,
        request_id: str | None = None,
        status_code: int | None = None,
        code: str | None = None,
        message: str | None = None,
        body: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.request_id: str | None = request_id
        self.status_code: int | None = status_code
        self.code: str | None = code
        self.message: str | None = message
        self.body: str = body
        self.retry_after: float | None = retry_after
        super().__init__(text, attributes, host=host, id=id)


class WaitTimeoutError(SaymonError, TimeoutError):
    """A wait's `timeout` passed before all operations were known to have finished. They go on, on the server.

    Attributes:
        pending: From the id of each operation that was not known to have finished to its last status, None where none
            came.
        failures: From the id of each operation whose last poll failed to the error. The operation may have finished.
            `__cause__` is the first of them.
        elapsed: Seconds since the wait began.
    """

    def __init__(
        self,
        message: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        host: str | None = None,
        id: str | None = None,
        pending: dict[str, BulkStatus | None] | None = None,
        failures: dict[str, SaymonError] | None = None,
        elapsed: float = 0.0,
    ) -> None:
        self.pending: dict[str, BulkStatus | None] = {} if pending is None else pending
        self.failures: dict[str, SaymonError] = {} if failures is None else failures
        self.elapsed: float = elapsed
        if attributes is not None:
            made = {id: _made(*parts) for id, parts in attributes.get("failures", {}).items()}
            attributes = {**attributes, "failures": made}
        super().__init__(message, attributes, host=host, id=id)


def _made(name: str, *args: Any) -> SaymonError:
    """An error out of its class's name and its args."""
    kind = globals().get(name)
    if isinstance(kind, type) and issubclass(kind, SaymonError):
        return kind(*args)
    return SaymonError(*args)  # of another version of this package


def __dir__() -> list[str]:
    return [name for name, value in globals().items() if isinstance(value, type) or name.startswith("__")]
