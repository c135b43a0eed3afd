"""The errors, each also a builtin exception that fits.

>>> try:
...     client.get_bulk_status("no-such-id")
... except saymon_bulk.SaymonError as error:
...     print(type(error).__name__, error.id, error.transient)
NotFoundError no-such-id False

Every error has one text and the attributes `host` (the server) and `id`
(the operation, or None). Errors pickle and copy. No text and no
attribute holds the password, the Authorization header or another header
of the request.

`args` is the text and a dict of the attributes, both of JSON's types. So
an error comes back whole from a store that keeps the class and the args
alone, as Celery does: `type(error)(*json.loads(json.dumps(error.args)))`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal

    from ._plans.model import BulkReport
    from ._types import BulkStatus, Refusal

    _Kind = Literal["dns", "connect", "proxy", "tls", "certificate", "cut", "timeout"]

# After these a wait goes on, once it has had a good answer: the rule of `is_tolerable` in Rust.
_TRANSIENT_STATUSES = {408, 429, 500, 502, 503, 504}
_TRANSIENT_KINDS = {"dns", "connect", "tls", "cut", "timeout"}


class SaymonError(Exception):
    """The base of all errors of this package.

    >>> try:
    ...     client.get_bulk_status("no-such-id")
    ... except saymon_bulk.SaymonError as error:
    ...     print(error.id, error.transient)
    no-such-id False

    A bad argument is no SaymonError but a ValueError or a TypeError.

    Attributes:
        host: The server, such as "https://monitor.example.com:8443".
        id: The id of the bulk operation. None for a start, which has no id
            yet.
        report: What is known so far of the objects of a plan, a
            `BulkReport`, if `Client.apply_plan` raised the error; else
            None.
    """

    report: BulkReport | None = None

    # Of the start whose outcome it is. A signal's handler may raise an error of another request at any time.
    _request_id: str | None = None

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
        """The text and a dict of the attributes, for JSON.

        >>> error = saymon_bulk.SaymonError("a text", id="a")
        >>> error.args
        ('a text', {'host': None, 'id': 'a'})
        >>> saymon_bulk.SaymonError(*error.args).id
        'a'
        """
        return (*super().args[:1], self._attributes())

    @args.setter
    def args(self, args: tuple[Any, ...]) -> None:
        BaseException.__init__(self, *args[:1])

    def _attributes(self) -> dict[str, Any]:
        names = type(self).__init__.__kwdefaults__ or ()  # else what a program has added would be among them
        return {name: value for name, value in vars(self).items() if name in names}

    @property
    def transient(self) -> bool:
        """Whether another try is worth it: a wait goes on after the error.

        >>> error = saymon_bulk.TransportError("refused", kind="connect")
        >>> error.transient
        True

        True of HTTP 408, 429, 500, 502, 503 and 504, and of a
        TransportError, unless its `kind` is "certificate" or "proxy". False
        of all others, also of StartUncertainError and WaitTimeoutError.

        A name that does not resolve ("dns") and a failed handshake ("tls")
        are transient too. They end a wait only before its first good
        answer, when the name or the protocol may be wrong: see `kind`.
        """
        return False

    def to_dict(self) -> dict[str, Any]:
        """The error as a JSON object, as `saymon-bulk --json` prints it.

        >>> error = saymon_bulk.AuthError("wrong", id="a", status_code=401)
        >>> for name, value in error.to_dict().items():
        ...     print(name, value)
        id a
        finished None
        error AuthError
        message wrong
        status_code 401
        transient False

        `finished` is None, but False in a WaitTimeoutError about an
        operation that was running. `message` is the text of the error.
        `status_code` is None where no HTTP answer came.
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
    """The server answered with another HTTP status than 200.

    >>> try:
    ...     client.get_bulk_status("no-such-id")
    ... except saymon_bulk.HTTPStatusError as error:
    ...     print(error.status_code, error.code)
    404 NotFound

    A redirect is such an answer too.

    Attributes:
        status_code: The HTTP status, such as 503. 0 in an error that is
            made by hand without a status.
        code: The code of the error, as the server gave it
            ("InvalidCredentials"), or None.
        message: The message of the server, or None. A message that stands
            as JSON inside a string is unwrapped.
        body: The first 4 KiB of the body of the answer, as text.
        retry_after: The seconds that the server asks to wait, or None.

    Source: RFC 9110 section 10.2.3, Retry-After.
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

    @property
    def transient(self) -> bool:
        return self.status_code in _TRANSIENT_STATUSES


class AuthError(HTTPStatusError, PermissionError):
    """HTTP 401 or 403: wrong login or password, or a missing permission.

    >>> stranger = saymon_bulk.Client(
    ...     "monitor.example.com", "login", "wrong"
    ... )
    >>> try:
    ...     stranger.get_bulk_status(bulk_id)
    ... except saymon_bulk.AuthError as error:
    ...     print(error.status_code)
    401
    """


class NotFoundError(HTTPStatusError, LookupError):
    """HTTP 404: the server knows no such operation or object.

    >>> try:
    ...     client.get_bulk_status("no-such-id")
    ... except saymon_bulk.NotFoundError as error:
    ...     print(error.id)
    no-such-id

    An unknown operation is never taken for finished.
    """


class TransportError(SaymonError, ConnectionError):
    """No complete HTTP answer came. The text names the cause.

    >>> away = saymon_bulk.Client("http://127.0.0.1:9", "login", "password")
    >>> try:
    ...     away.get_bulk_status(bulk_id)
    ... except saymon_bulk.TransportError as error:
    ...     print(error.kind, error.transient)
    connect True

    Attributes:
        kind: What failed. None in an error that is made by hand without a
            kind.
            "dns": the name does not resolve.
            "connect": refused or unreachable, or a proxy makes no tunnel.
            "proxy": a proxy refuses the login, or refuses this server.
            "tls": the handshake failed.
            "certificate": the certificate is not trusted.
            "cut": the connection ended, or the peer does not speak HTTP.
            "timeout": `request_timeout` passed.
    """

    _kind_of_class: _Kind | None = None

    def __init__(
        self,
        message: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        host: str | None = None,
        id: str | None = None,
        kind: _Kind | None = None,
    ) -> None:
        self.kind: _Kind | None = self._kind_of_class or kind
        super().__init__(message, attributes, host=host, id=id)

    @property
    def transient(self) -> bool:
        return self.kind in _TRANSIENT_KINDS


class RequestTimeoutError(TransportError, TimeoutError):
    """One exchange took longer than `request_timeout`.

    >>> client = saymon_bulk.Client(
    ...     "monitor.example.com", "login", "password", request_timeout=5
    ... )
    >>> try:
    ...     status = client.get_bulk_status(bulk_id)
    ... except saymon_bulk.RequestTimeoutError as error:
    ...     print("no answer within 5 s:", error)

    The time runs from connecting to the last byte. `kind` is "timeout".
    """

    _kind_of_class = "timeout"


class ResponseError(SaymonError, ValueError):
    """The status is 200, but the body is not the documented JSON object.

    >>> try:
    ...     status = client.get_bulk_status(bulk_id)
    ... except saymon_bulk.ResponseError as error:
    ...     print(error)  # the text shows the beginning of the body

    The body may be a login page, for example.
    """


class StartUncertainError(SaymonError):
    """A start was sent, and no answer says what came of it.

    >>> try:
    ...     started = client.start_clone("62d7e58056d203149a08001b")
    ... except saymon_bulk.StartUncertainError as error:
    ...     print("look for", error.request_id, "in the access log")

    The server may have started the operation or may not. Look at the server
    before you start the operation again: two equal starts change all
    objects twice. `Client.plan_bulk` with the same arguments shows what is
    left to change, and `Client.verify_plan` whether the objects of a plan
    are as asked. The access log of the server, or of a proxy before it,
    tells whether a request with this X-Request-Id arrived.

    `__cause__` is the plain error, or what has interrupted the start:
    `close()`, an exception of a signal's handler or of a log handler. This
    class is no ConnectionError and no TimeoutError. So code that tries
    again after these errors does not repeat a start.

    Attributes:
        id: None, or the id of the operation if the answer had come when
            the start was interrupted.
        request_id: The X-Request-Id of the start.
        status_code: The HTTP status, or None: 303, 302 within the server,
            408, 5xx, or a 2xx that is not the documented answer.
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


class PlanRefusedError(SaymonError):
    """An apply was refused: this call started nothing.

    >>> try:
    ...     client.apply_plan(plan, at_most=0)
    ... except saymon_bulk.PlanRefusedError as error:
    ...     print(error.reason)
    too-many

    Attributes:
        reason: Why. None in an error that is made by hand without one.
            "stale": objects have changed since the plan was made, in a
            field that the plan touches, or they are gone.
            "too-many": the plan changes more objects than `at_most`.
            "other-server": the plan is for another host.
            "criterion-ignored": the server answers a search for ids with
            other objects. A start by that search would change them all.
            "already-applied": the journal says that nothing is left to do.
            "running": another apply holds the journal, or an earlier plan
            in it has perhaps started an operation on these objects.
        objects: The ids of the objects that it is about.
    """

    def __init__(
        self,
        message: str = "",
        attributes: Mapping[str, Any] | None = None,
        *,
        host: str | None = None,
        id: str | None = None,
        reason: Refusal | None = None,
        objects: Sequence[str] = (),
    ) -> None:
        self.reason: Refusal | None = reason
        self.objects: list[str] = list(objects)
        super().__init__(message, attributes, host=host, id=id)

    def to_dict(self) -> dict[str, Any]:
        """The error as a JSON object, as `saymon-bulk --json` prints it.

        >>> error = saymon_bulk.PlanRefusedError("changed", reason="stale")
        >>> error.to_dict()["reason"]
        'stale'

        `reason` and `objects` stand behind the keys of all errors.
        """
        return {**super().to_dict(), "reason": self.reason, "objects": self.objects.copy()}


class ClosedError(SaymonError, RuntimeError):
    """The client is closed: `close()` ended the call, or came before it.

    >>> client = saymon_bulk.Client(
    ...     "monitor.example.com", "login", "password"
    ... )
    >>> client.close()
    >>> try:
    ...     client.start_clone("62d7e58056d203149a08001b")
    ... except saymon_bulk.ClosedError as error:
    ...     print(error.transient)
    False

    A start that `close()` ends is a StartUncertainError with this error as
    its `__cause__`. So this error means of a start: not started.
    """


class WaitTimeoutError(SaymonError, TimeoutError):
    """The `timeout` of a wait passed before all operations had finished.

    >>> try:
    ...     client.wait_for_bulk("running-id", timeout=0)
    ... except saymon_bulk.WaitTimeoutError as error:
    ...     print(error.pending, error.failures)
    {'running-id': {'finished': False}} {}

    The operations go on, on the server.

    Attributes:
        pending: A dict of the operations that were not known to have
            finished: from id to the last status, or to None if no status
            came.
        failures: A dict of the operations whose last poll failed: from id
            to the error. Such an operation may have finished. `__cause__`
            is the first of these errors.
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
            made = {id: _from_args(*parts) for id, parts in attributes.get("failures", {}).items()}
            attributes = {**attributes, "failures": made}
        super().__init__(message, attributes, host=host, id=id)

    def to_dict(self) -> dict[str, Any]:
        """The error as a JSON object, as `saymon-bulk --json` prints it.

        >>> pending = {"a": {"finished": False}}
        >>> late = saymon_bulk.WaitTimeoutError(id="a", pending=pending)
        >>> late.to_dict()["finished"]
        False

        `finished` is False if the operation ran when it was last asked for,
        else None.
        """
        return {**super().to_dict(), "finished": False if self.id is not None and self._is_running(self.id) else None}

    def _is_running(self, id: str) -> bool:
        """Whether an operation ran when it was last asked for; a poll that failed tells nothing."""
        return bool(self.pending.get(id)) and id not in self.failures

    def _attributes(self) -> dict[str, Any]:
        failures = {id: [type(error).__name__, *error.args] for id, error in self.failures.items()}
        return {**super()._attributes(), "failures": failures}


def _from_args(name: str, *args: Any) -> SaymonError:
    """An error from the name of its class and its args."""
    kind = globals().get(name)
    if isinstance(kind, type) and issubclass(kind, SaymonError):
        return kind(*args)
    return SaymonError(*args)  # the class is of another version of this package


def __dir__() -> list[str]:
    return [name for name, value in globals().items() if isinstance(value, type) or name.startswith("__")]
