"""What can go wrong, each also the builtin exception that fits.

Every error has one text and the attributes `host` (the server's origin) and `id` (the operation's, or None), pickles and
copies. No text and no attribute holds the password, the Authorization header or another request header.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from ._types import BulkStatus


class SaymonError(Exception):
    """The base of all errors of this package but ValueError and TypeError for bad arguments.

    Attributes:
        host: The server's origin, such as "https://monitor.example.com:8443".
        id: The bulk operation's id; None for a start, which has none yet.
    """

    host: str | None
    id: str | None

    def __init__(self, message: str = "", *, host: str | None = None, id: str | None = None) -> None:
        super().__init__(message)
        self.host = host
        self.id = id


class HTTPStatusError(SaymonError):
    """The server answered with another HTTP status than 200; redirects are such answers too.

    Attributes:
        status_code: The HTTP status, such as 503.
        code: The error's code as the server gave it ("InvalidCredentials"), or None.
        message: The server's message, unwrapped where it stands as JSON inside a string, or None.
        body: The first 4 KiB of the answer's body as text.
        retry_after: Seconds that the server asks to wait (Retry-After, RFC 9110 section 10.2.3), or None.
    """

    status_code: int | None
    code: str | None
    message: str | None
    body: str
    retry_after: float | None

    def __init__(
        self,
        text: str = "",
        *,
        host: str | None = None,
        id: str | None = None,
        status_code: int | None = None,
        code: str | None = None,
        message: str | None = None,
        body: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text, host=host, id=id)
        self.status_code = status_code
        self.code = code
        self.message = message
        self.body = body
        self.retry_after = retry_after


class AuthError(HTTPStatusError, PermissionError):
    """HTTP 401 or 403: the login or password is wrong, or a permission is missing."""


class NotFoundError(HTTPStatusError, LookupError):
    """HTTP 404: the server knows no such operation, or no such object to clone. That is never "finished"."""


class TransportError(SaymonError, ConnectionError):
    """No complete HTTP answer: DNS, connection refused, TLS, cut off. The text names the cause."""


class RequestTimeoutError(TransportError, TimeoutError):
    """One exchange, connect to last byte, took longer than `request_timeout`."""


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

    request_id: str | None
    status_code: int | None
    code: str | None
    message: str | None
    body: str
    retry_after: float | None

    def __init__(
        self,
        text: str = "",
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
        super().__init__(text, host=host, id=id)
        self.request_id = request_id
        self.status_code = status_code
        self.code = code
        self.message = message
        self.body = body
        self.retry_after = retry_after


class InsecureConnectionWarning(UserWarning):
    """The password travels in a way that others may read: `verify=False`, or plain http beyond this machine."""


class InsecureFileWarning(UserWarning):
    """The password stands in a netrc file that other users of this machine may read."""


class WaitTimeoutError(SaymonError, TimeoutError):
    """A wait's `timeout` passed before all operations were known to have finished. They go on, on the server.

    Attributes:
        pending: From the id of each operation that was not known to have finished to its last status, None where none
            came.
        failures: From the id of each operation whose last poll failed to the error. The operation may have finished.
            `__cause__` is the first of them.
        elapsed: Seconds since the wait began.
    """

    pending: dict[str, BulkStatus | None]
    failures: dict[str, SaymonError]
    elapsed: float

    def __init__(
        self,
        message: str = "",
        *,
        host: str | None = None,
        id: str | None = None,
        pending: dict[str, BulkStatus | None] | None = None,
        failures: dict[str, SaymonError] | None = None,
        elapsed: float = 0.0,
    ) -> None:
        super().__init__(message, host=host, id=id)
        self.pending = {} if pending is None else pending
        self.failures = {} if failures is None else failures
        self.elapsed = elapsed
