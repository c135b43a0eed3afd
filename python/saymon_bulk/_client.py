"""`Client`, and the plain functions but `get_bulk_status`: all signatures, defaults and docstrings."""

from __future__ import annotations

from . import _core

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike
    from types import TracebackType
    from typing import Any, Literal, overload

    from typing_extensions import Self

    from ._types import AsyncOnPoll, BulkStart, BulkStatus, Cert, ClosableAsyncIterator, ClosableIterator, OnPoll
    from .errors import SaymonError


# Defaults of arguments, times in seconds. A module of their own would make the import slower by a tenth.
REQUEST_TIMEOUT = 30.0  # `get_bulk_status` has its own, in Rust
TIMEOUT = 3600.0
INTERVAL = 1.0
MAX_INTERVAL = 10.0
RETRIES = 10
CONCURRENCY = 16


class Client(_core.Client):
    """One server and one login, for many calls.

    Connections are kept and shared by all clients and functions of the process, so a Client costs nothing to make. It may
    be used by many threads and event loops at once, and after a fork. It does not pickle: it holds a password.

    Args:
        host: The server: "monitor.example.com", "name:8443", "[2001:db8::1]:8443", with "https://" (the default) or
            "http://" before it.
        login: The login; no colon (RFC 7617).
        password: The password.
        request_timeout: Seconds for one exchange, connect to last byte; 30 by default.
        verify: True (default) trusts the system's CA certificates, a path those of that PEM file or directory and
            no others, False checks nothing and warns.
        cert: A client certificate, where the server asks for one: the path of a PEM file with certificate and key, or
            (certificate, key) with two paths. None (default) gives none. The key must not be encrypted. Both files are
            read now; a Client that lives on keeps what they held.

    Raises:
        ValueError, TypeError: An argument cannot be used.
    """

    def __new__(
        cls,
        host: str,
        login: str,
        password: str,
        *,
        request_timeout: float = REQUEST_TIMEOUT,
        verify: bool | str | PathLike[str] = True,
        cert: Cert | None = None,
    ) -> Self:
        try:
            return super().__new__(cls, host, login, password, request_timeout, verify, cert)
        finally:
            del password  # a traceback shows the variables of a frame

    @classmethod
    def from_env(
        cls,
        *,
        request_timeout: float = REQUEST_TIMEOUT,
        verify: bool | str | PathLike[str] = True,
        cert: Cert | None = None,
    ) -> Self:
        """A client from the environment: SAYMON_HOST, SAYMON_LOGIN and SAYMON_PASSWORD.

        SAYMON_PASSWORD_FILE may name a file with the password instead; SAYMON_PASSWORD goes before it. Where login or
        password is not set, both come from netrc: the file that NETRC names, else ~/.netrc, under the host's name;
        SAYMON_LOGIN must then be absent or agree with it. SAYMON_CERT names the PEM file of a client certificate, and
        SAYMON_KEY its key, if that stands in another file.

        Args:
            request_timeout: As for Client.
            verify: As for Client.
            cert: As for Client; goes before SAYMON_CERT and SAYMON_KEY.

        Raises:
            ValueError: The environment lacks the host or the credentials, or a file that it names cannot be used; the
                text says which.
        """
        from ._environment import certificate, client_arguments

        cert = certificate() if cert is None else cert
        return cls(*client_arguments(), request_timeout=request_timeout, verify=verify, cert=cert)

    def start_bulk(
        self, search: Mapping[str, Any], bulk: Sequence[Mapping[str, Any]], *, every_object: bool = False
    ) -> BulkStart:
        """Start a bulk operation on the objects that a search finds.

        >>> search = {"name": {"$regex": "^CPU$"}}  # doctest: +SKIP
        >>> bulk = [{"properties.createOrModify": {"name": "Room", "value": "7"}}]  # doctest: +SKIP
        >>> client.wait_for_bulk(client.start_bulk(search, bulk)["bulkId"])  # doctest: +SKIP
        {'finished': True}

        One `POST /node/api/bulk/objects` (the vendor's page "Run Bulk Operation for Objects"), on a connection of its own,
        sent at most once. The login needs the permissions `run-bulks` and `manage-objects`.

        Args:
            search: The criteria, a mapping as the vendor documents it. The server reads an empty one as every object.
            bulk: The changes, a list or tuple of mappings as the vendor documents them; at least one.
            every_object: False (default) refuses an empty search. True goes with an empty search alone.

        Returns:
            The server's JSON object as a dict: `bulkId` is the id of the operation, `finished` a bool.

        Raises:
            ValueError, TypeError: An argument cannot be used; its name, and the place in it, are in the text. Nothing was
                sent.
            StartUncertainError: The server may have started the operation or may not. Look at the server before you
                start it again.
            AuthError, NotFoundError, HTTPStatusError, TransportError: The operation was not started. So it is with every
                other error than StartUncertainError.
            RuntimeError: The client is closed.
        """
        from . import _starting

        return self._start_bulk(_starting.body(search, bulk, every_object), _starting.request_id())

    async def start_bulk_async(
        self, search: Mapping[str, Any], bulk: Sequence[Mapping[str, Any]], *, every_object: bool = False
    ) -> BulkStart:
        """The coroutine twin of `start_bulk`. Cancelling it leaves the outcome uncertain; the log says so."""
        from . import _starting

        body = _starting.body(search, bulk, every_object)
        with _starting.Interruptible(self) as request_id:
            return await self._start_bulk_awaitable(body, request_id)

    def start_clone(self, object_id: str) -> BulkStart:
        """Start the clone of an object, a bulk operation too.

        One `POST /node/api/objects/:id/clone-bulk` (the vendor's page "Clone Object in Background"), on a connection of its
        own, sent at most once. The login needs the permission `create-objects` or `manage-objects`.

        Args:
            object_id: The object's id, or "discovery id:" and its discovery id.

        Returns:
            As for `start_bulk`.

        Raises:
            Exception: As for `start_bulk`; NotFoundError if there is no such object.
        """
        from . import _starting

        return self._start_clone(object_id, _starting.request_id())

    async def start_clone_async(self, object_id: str) -> BulkStart:
        """The coroutine twin of `start_clone`. Cancelling it leaves the outcome uncertain; the log says so."""
        from . import _starting

        with _starting.Interruptible(self) as request_id:
            return await self._start_clone_awaitable(object_id, request_id)

    async def get_bulk_status_async(self, id: str) -> BulkStatus:
        """The coroutine twin of `get_bulk_status`. Cancelling it drops the request."""
        return await self._get_bulk_status_awaitable(id)

    if TYPE_CHECKING:

        @overload
        def get_bulk_statuses(
            self, ids: Iterable[str], *, concurrency: int = CONCURRENCY, return_exceptions: Literal[False] = False
        ) -> dict[str, BulkStatus]: ...
        @overload
        def get_bulk_statuses(
            self, ids: Iterable[str], *, concurrency: int = CONCURRENCY, return_exceptions: bool
        ) -> dict[str, BulkStatus | SaymonError]: ...

    def get_bulk_statuses(
        self, ids: Iterable[str], *, concurrency: int = CONCURRENCY, return_exceptions: bool = False
    ) -> dict[str, BulkStatus] | dict[str, BulkStatus | SaymonError]:
        """Ask once for each of many bulk operations.

        Args:
            ids: An iterable of ids, not a str; one that is repeated is asked for once.
            concurrency: Requests under way at the same time; 16 by default.
            return_exceptions: False (default) raises the first error, whose `id` says which operation it is about; True
                puts the error in the status's place.

        Returns:
            A dict from id to status, in the order of `ids`.

        Raises:
            ValueError, TypeError: An argument cannot be used. Nothing was sent.
            SaymonError: As `get_bulk_status` raises it, unless `return_exceptions`.
            RuntimeError: The client is closed.
        """
        return self._get_bulk_statuses(ids, concurrency, return_exceptions)

    if TYPE_CHECKING:

        @overload
        async def get_bulk_statuses_async(
            self, ids: Iterable[str], *, concurrency: int = CONCURRENCY, return_exceptions: Literal[False] = False
        ) -> dict[str, BulkStatus]: ...
        @overload
        async def get_bulk_statuses_async(
            self, ids: Iterable[str], *, concurrency: int = CONCURRENCY, return_exceptions: bool
        ) -> dict[str, BulkStatus | SaymonError]: ...

    async def get_bulk_statuses_async(
        self, ids: Iterable[str], *, concurrency: int = CONCURRENCY, return_exceptions: bool = False
    ) -> dict[str, BulkStatus] | dict[str, BulkStatus | SaymonError]:
        """The coroutine twin of `get_bulk_statuses`. Cancelling it drops the requests."""
        return await self._get_bulk_statuses_awaitable(ids, concurrency, return_exceptions)

    def wait_for_bulk(
        self,
        id: str,
        *,
        timeout: float | None = TIMEOUT,
        interval: float = INTERVAL,
        max_interval: float = MAX_INTERVAL,
        retries: int = RETRIES,
        on_poll: OnPoll | None = None,
    ) -> BulkStatus:
        """Wait until a bulk operation has finished.

        Polls at once. Each pause is then a tenth of the time waited so far, at least `interval` and at most `max_interval`:
        the longer an operation runs, the rarer the polls. After failures in a row, each pause is 1.5 times the one before,
        up to `max_interval`. Each pause is changed at random by up to a tenth. A Retry-After of the server (RFC 9110 section
        10.2.3) lengthens the next pause. Ctrl-C ends the wait at any moment; the operation goes on, on the server.

        Args:
            id: The operation's id.
            timeout: Seconds for everything; 3600 by default, None for ever, 0 asks once. The last pause is cut to it and
                followed by one last poll, which may take another second.
            interval: Seconds of the shortest pause; 1 by default.
            max_interval: Seconds of the longest pause; 10 by default, and never less than `interval`. More means fewer
                polls of operations that run for minutes.
            retries: Failures in a row that are tolerated; 10 by default. Tolerated are HTTP 408, 429, 500, 502, 503 and 504,
                connections refused or cut off, and requests timed out; after the first good answer also a name that does
                not resolve and a failed TLS handshake. A kept connection that has died in silence does not count.
            on_poll: Called as on_poll(id, status, elapsed) in this thread after every good answer; elapsed is in seconds
                since the start. What it raises ends the wait and comes out of it. A plain function: a coroutine function is
                for `wait_for_bulk_async`.

        Returns:
            The status with `finished` True. Finished does not mean succeeded.

        Raises:
            ValueError, TypeError: An argument cannot be used. Nothing was sent.
            WaitTimeoutError: `timeout` passed.
            SaymonError: As `get_bulk_status` raises it, when it is not to be tolerated or `retries` are used up.
            RuntimeError: The client is closed.
        """
        from . import _waiting

        waits = self._waits(_one(id), (timeout, interval, max_interval, retries, 1), False)
        on_poll = _waiting.callback(on_poll)
        try:
            # Not by BulkIterator, which changes a StopIteration of on_poll's.
            for steps in waits:
                for _, status in _waiting.ended(steps, on_poll):
                    return status
        finally:
            waits.close()
        raise AssertionError("a wait ends with a status or an error")

    async def wait_for_bulk_async(
        self,
        id: str,
        *,
        timeout: float | None = TIMEOUT,
        interval: float = INTERVAL,
        max_interval: float = MAX_INTERVAL,
        retries: int = RETRIES,
        on_poll: AsyncOnPoll | None = None,
    ) -> BulkStatus:
        """The coroutine twin of `wait_for_bulk`. Cancelling it drops the request.

        `on_poll` is called on the event loop. It may be a coroutine function:
        the next poll comes after the coroutine has ended.
        """
        from . import _waiting

        waits = self._async_waits(_one(id), (timeout, interval, max_interval, retries, 1), False)
        on_poll = _waiting.async_callback(on_poll)
        try:
            async for steps in waits:
                for _, status in await _waiting.ended_async(steps, on_poll):
                    return status
        finally:
            waits.close()
        raise AssertionError("a wait ends with a status or an error")

    if TYPE_CHECKING:

        @overload
        def wait_for_bulks(
            self,
            ids: Iterable[str],
            *,
            timeout: float | None = TIMEOUT,
            interval: float = INTERVAL,
            max_interval: float = MAX_INTERVAL,
            retries: int = RETRIES,
            on_poll: OnPoll | None = None,
            concurrency: int = CONCURRENCY,
            return_exceptions: Literal[False] = False,
        ) -> ClosableIterator[tuple[str, BulkStatus]]: ...
        @overload
        def wait_for_bulks(
            self,
            ids: Iterable[str],
            *,
            timeout: float | None = TIMEOUT,
            interval: float = INTERVAL,
            max_interval: float = MAX_INTERVAL,
            retries: int = RETRIES,
            on_poll: OnPoll | None = None,
            concurrency: int = CONCURRENCY,
            return_exceptions: bool,
        ) -> ClosableIterator[tuple[str, BulkStatus | SaymonError]]: ...

    def wait_for_bulks(
        self,
        ids: Iterable[str],
        *,
        timeout: float | None = TIMEOUT,
        interval: float = INTERVAL,
        max_interval: float = MAX_INTERVAL,
        retries: int = RETRIES,
        on_poll: OnPoll | None = None,
        concurrency: int = CONCURRENCY,
        return_exceptions: bool = False,
    ) -> ClosableIterator[tuple[str, BulkStatus | SaymonError]]:
        """Wait for many bulk operations, yielding (id, status) as each finishes.

        `tqdm(client.wait_for_bulks(ids), total=len(ids))` is a progress bar, `dict(client.wait_for_bulks(ids))` the
        mapping. Polling goes on while the iterator is asked for its next item;
        leaving the loop stops it, and so does `close()` of the iterator:

        >>> with contextlib.closing(client.wait_for_bulks(ids)) as statuses:
        ...     id, status = next(statuses)  # doctest: +SKIP

        One thread at a time may use the iterator. A second one gets a
        RuntimeError.

        Args:
            ids: An iterable of ids, not a str; one that is repeated is waited for once.
            timeout: Seconds for everything, as for `wait_for_bulk`.
            interval: As for `wait_for_bulk`, for each operation.
            max_interval: As for `wait_for_bulk`, for each operation.
            retries: As for `wait_for_bulk`, for each operation.
            on_poll: As for `wait_for_bulk`, for each operation.
            concurrency: Polls under way at the same time; 16 by default.
            return_exceptions: False (default) raises the first error, whose `id` says which operation it is about; True
                yields the error in the status's place and goes on.

        Raises:
            ValueError, TypeError: An argument cannot be used; raised by the call, before the first item.
            WaitTimeoutError: `timeout` passed; `pending` has all operations that had not finished.
            SaymonError: As for `wait_for_bulk`, unless `return_exceptions`.
            RuntimeError: The client is closed.
        """
        from . import _waiting

        waits = self._waits(ids, (timeout, interval, max_interval, retries, concurrency), return_exceptions)
        return _waiting.BulkIterator(waits, _waiting.callback(on_poll))

    if TYPE_CHECKING:

        @overload
        def wait_for_bulks_async(
            self,
            ids: Iterable[str],
            *,
            timeout: float | None = TIMEOUT,
            interval: float = INTERVAL,
            max_interval: float = MAX_INTERVAL,
            retries: int = RETRIES,
            on_poll: AsyncOnPoll | None = None,
            concurrency: int = CONCURRENCY,
            return_exceptions: Literal[False] = False,
        ) -> ClosableAsyncIterator[tuple[str, BulkStatus]]: ...
        @overload
        def wait_for_bulks_async(
            self,
            ids: Iterable[str],
            *,
            timeout: float | None = TIMEOUT,
            interval: float = INTERVAL,
            max_interval: float = MAX_INTERVAL,
            retries: int = RETRIES,
            on_poll: AsyncOnPoll | None = None,
            concurrency: int = CONCURRENCY,
            return_exceptions: bool,
        ) -> ClosableAsyncIterator[tuple[str, BulkStatus | SaymonError]]: ...

    def wait_for_bulks_async(
        self,
        ids: Iterable[str],
        *,
        timeout: float | None = TIMEOUT,
        interval: float = INTERVAL,
        max_interval: float = MAX_INTERVAL,
        retries: int = RETRIES,
        on_poll: AsyncOnPoll | None = None,
        concurrency: int = CONCURRENCY,
        return_exceptions: bool = False,
    ) -> ClosableAsyncIterator[tuple[str, BulkStatus | SaymonError]]:
        """The twin of `wait_for_bulks` for `async for`.

        `aclose()` stops the polling, as `contextlib.aclosing` does. `on_poll`
        is called on the event loop. It may be a coroutine function.
        """
        from . import _waiting

        waits = self._async_waits(ids, (timeout, interval, max_interval, retries, concurrency), return_exceptions)
        return _waiting.AsyncBulkIterator(waits, _waiting.async_callback(on_poll))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _one(id: object) -> list[str]:
    # A wait for one is a wait for many, but speaks of `id` and not of `ids`.
    return [_core._checked_id(id)]


async def get_bulk_status_async(
    host: str,
    id: str,
    login: str,
    password: str,
    *,
    request_timeout: float = REQUEST_TIMEOUT,
    verify: bool | str | PathLike[str] = True,
    cert: Cert | None = None,
) -> BulkStatus:
    """The coroutine twin of `get_bulk_status`. Cancelling it drops the request."""
    try:
        client = Client(host, login, password, request_timeout=request_timeout, verify=verify, cert=cert)
    finally:
        del password
    return await client.get_bulk_status_async(id)


def wait_for_bulk(
    host: str,
    id: str,
    login: str,
    password: str,
    *,
    timeout: float | None = TIMEOUT,
    interval: float = INTERVAL,
    max_interval: float = MAX_INTERVAL,
    retries: int = RETRIES,
    on_poll: OnPoll | None = None,
    request_timeout: float = REQUEST_TIMEOUT,
    verify: bool | str | PathLike[str] = True,
    cert: Cert | None = None,
) -> BulkStatus:
    """Wait until a bulk operation has finished: `Client.wait_for_bulk` for one call.

    Args:
        host: As for `get_bulk_status`.
        id: As for `get_bulk_status`.
        login: As for `get_bulk_status`.
        password: As for `get_bulk_status`.
        timeout: Seconds for everything; 3600 by default, None for ever, 0 asks once.
        interval: Seconds of the shortest pause between polls; 1 by default. A pause is a tenth of the time waited so far.
        max_interval: Seconds of the longest pause; 10 by default.
        retries: Failures in a row that are tolerated; 10 by default.
        on_poll: Called as on_poll(id, status, elapsed) in this thread after every good answer.
        request_timeout: Seconds for one exchange; 30 by default.
        verify: As for `get_bulk_status`.
        cert: As for `get_bulk_status`.

    Returns:
        The status with `finished` True. Finished does not mean succeeded.

    Raises:
        ValueError, TypeError: An argument cannot be used. Nothing was sent.
        WaitTimeoutError: `timeout` passed; the operation goes on, on the server.
        SaymonError: As `get_bulk_status` raises it, when it is not to be tolerated or `retries` are used up.
    """
    try:
        client = Client(host, login, password, request_timeout=request_timeout, verify=verify, cert=cert)
    finally:
        del password
    return client.wait_for_bulk(
        id, timeout=timeout, interval=interval, max_interval=max_interval, retries=retries, on_poll=on_poll
    )


async def wait_for_bulk_async(
    host: str,
    id: str,
    login: str,
    password: str,
    *,
    timeout: float | None = TIMEOUT,
    interval: float = INTERVAL,
    max_interval: float = MAX_INTERVAL,
    retries: int = RETRIES,
    on_poll: AsyncOnPoll | None = None,
    request_timeout: float = REQUEST_TIMEOUT,
    verify: bool | str | PathLike[str] = True,
    cert: Cert | None = None,
) -> BulkStatus:
    """The coroutine twin of `wait_for_bulk`. Cancelling it drops the request.

    `on_poll` is called on the event loop. It may be a coroutine function:
    the next poll comes after the coroutine has ended.
    """
    try:
        client = Client(host, login, password, request_timeout=request_timeout, verify=verify, cert=cert)
    finally:
        del password
    return await client.wait_for_bulk_async(
        id, timeout=timeout, interval=interval, max_interval=max_interval, retries=retries, on_poll=on_poll
    )
