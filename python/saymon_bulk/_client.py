"""`Client`, and the plain functions but `get_bulk_status`: all signatures, defaults and docstrings."""

from __future__ import annotations

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike
    from types import TracebackType
    from typing import Any, Literal, overload

    from typing_extensions import Self

    from ._plans.model import BulkPlan, BulkReport
    from ._types import AsyncOnPoll, BulkChange, BulkStart, BulkStatus, Cert, ClosableAsyncIterator, ClosableIterator, OnPoll
    from .errors import SaymonError


# Defaults of arguments, times in seconds. A module of their own would make the import slower by a tenth.
REQUEST_TIMEOUT = 30.0  # `get_bulk_status` has its own, in Rust
TIMEOUT = 3600.0
INTERVAL = 1.0
MAX_INTERVAL = 10.0
RETRIES = 10
CONCURRENCY = 16
PART_SIZE = 10_000  # objects of one operation of a plan
SETTLE = 15.0

# How the objects of a plan are read where no argument says so. The pauses of one read last two minutes at most.
READING = {"timeout": 120.0, "retries": RETRIES, "interval": INTERVAL, "max_interval": MAX_INTERVAL}


class Client(_core.Client):
    """One server and one login, for many calls.

    >>> with saymon_bulk.Client(
    ...     "monitor.example.com", "login", "password"
    ... ) as client:
    ...     client.get_bulk_status("079b3102-c326-4dd7-bf48-a945232b32d6")
    {'finished': True}

    A client costs little to make: all clients and functions of the process
    share the kept connections. Many threads and event loops may use one
    client at the same time, and so may a forked child. A client does not
    pickle, because it holds a password. A subclass may have an `__init__`
    with other arguments: it calls `super().__init__(host, login, password)`
    before anything else of the client.

    Args:
        host: The server: "monitor.example.com", "name:8443" or
            "[2001:db8::1]:8443". "https://" (the default) or "http://" may
            stand before it. A path may not follow.
        login: The login. It cannot hold a colon (RFC 7617).
        password: The password.
        request_timeout: Seconds for one exchange, from connecting to the
            last byte; 30 by default.
        verify: True (default) trusts the CA certificates of the system, or
            those that SSL_CERT_FILE and SSL_CERT_DIR name. A path trusts
            the certificates of that PEM file or directory, and no others.
            False checks nothing and warns.
        cert: The client certificate, if the server asks for one (mutual
            TLS): the path of a PEM file with the certificate and its key,
            or two paths, (certificate, key). The key must not be
            encrypted. The client reads the files when it is made. None
            (default) sends no certificate.

    Raises:
        ValueError, TypeError: An argument cannot be used.
    """

    def __init__(
        self,
        host: str,
        login: str,
        password: str,
        *,
        request_timeout: float = REQUEST_TIMEOUT,
        verify: bool | str | PathLike[str] = True,
        cert: Cert | None = None,
    ) -> None:
        try:
            self._open(host, login, password, request_timeout, verify, cert)
        finally:
            password = "***"  # tracebacks, and programs that handle warnings, can see the variables of a frame
        self._warn()

    @classmethod
    def from_env(
        cls, *, request_timeout: float = REQUEST_TIMEOUT, verify: bool | str | PathLike[str] = True, cert: Cert | None = None
    ) -> Self:
        """Make a client from the environment.

        >>> import os
        >>> os.environ["SAYMON_HOST"] = "monitor.example.com"
        >>> os.environ["SAYMON_LOGIN"] = "login"
        >>> os.environ["SAYMON_PASSWORD"] = "password"
        >>> client = saymon_bulk.Client.from_env()
        >>> client.login
        'login'

        SAYMON_HOST names the server, SAYMON_LOGIN the login. The password
        comes from the first of these that is set. Without SAYMON_LOGIN it
        comes from the third, since a password belongs to a login:

        1. SAYMON_PASSWORD;
        2. SAYMON_PASSWORD_FILE, the path of a file with the password;
        3. the entry of the host in netrc: the file that NETRC names, else
           ~/.netrc. The entry also gives the login. SAYMON_LOGIN must be
           absent or agree with it.

        SAYMON_CERT is the path of a PEM file with a client certificate.
        SAYMON_KEY is the path of its key, if the key is in another file.
        The class is called with the arguments of Client.

        Args:
            request_timeout: As for Client.
            verify: As for Client.
            cert: As for Client. SAYMON_CERT and SAYMON_KEY are then not
                used.

        Raises:
            ValueError: The host or the credentials are missing, or a file
                that a variable names cannot be used. The text says which.
        """
        from ._credentials import certificate, client_arguments

        cert = certificate() if cert is None else cert
        return cls(*client_arguments(), request_timeout=request_timeout, verify=verify, cert=cert)

    def search_objects(
        self, search: Mapping[str, Any], *, fields: Iterable[str] | None = None, include_client_data: bool = False
    ) -> list[dict[str, Any]]:
        """Read the objects that a search finds. The call changes nothing.

        >>> found = client.search_objects(
        ...     {"name": {"$regex": "^CPU$"}}, fields=["name", "weight"]
        ... )
        >>> found[0]["name"]
        'CPU'

        The criteria are those of `start_bulk`: the objects that a search
        finds are the objects that a start with this search would change.
        The method sends one `POST /node/api/objects/search`. The login
        needs the permission `run-bulks`, or `manage-objects` in older
        versions of the server.

        The server has no pages and no choice of fields: one answer can
        have a hundred megabytes. The method reads it object by object and
        keeps the fields that are asked for. It reads 1 GiB at most.

        Args:
            search: The criteria, a mapping as the vendor documents it. An
                empty one finds every object of the installation.
            fields: The names of the fields to keep, an iterable but not a
                str. `id` is always kept. None (default) keeps all fields.
            include_client_data: True asks the server for `client_data`
                too. False (default) does not.

        Returns:
            A list of dicts, in the order of the server. Each has a
            non-empty str `id`, and no two have the same.

        Raises:
            ValueError, TypeError: An argument cannot be used. The text
                names the argument and the place in it. Nothing was sent.
            ResponseError: The answer is not as documented. A part of an
                answer is never returned.
            TransportError: No complete answer came. `request_timeout` of
                the client covers the whole exchange.
            AuthError, HTTPStatusError: As for `get_bulk_status`.
            ClosedError: The client is closed.

        Source: the vendor's page "Search Objects".
        """
        from . import _start_body

        return self._search(*_start_body.search_body(search, fields, include_client_data))

    async def search_objects_async(
        self, search: Mapping[str, Any], *, fields: Iterable[str] | None = None, include_client_data: bool = False
    ) -> list[dict[str, Any]]:
        """Read the objects that a search finds, as a coroutine.

        >>> found = await client.search_objects_async({"name": "CPU"})
        >>> len(found)
        2

        The twin of `search_objects`: arguments, result and errors are the
        same. A cancelled task drops its request. The dicts are made when
        the answer is complete, on the thread of the loop: 50,000 objects
        with all their fields hold it up for about a second. `fields` makes
        that short.
        """
        from . import _start_body

        return await self._search_awaitable(*_start_body.search_body(search, fields, include_client_data))

    def plan_bulk(
        self, search: Mapping[str, Any], bulk: Sequence[BulkChange | Mapping[str, Any]], *, every_object: bool = False
    ) -> BulkPlan:
        """See which objects a bulk would change, and how. Nothing changes.

        >>> search = {"name": "CPU"}
        >>> change = {"name": "Room", "value": "7"}
        >>> bulk = [{"properties.createOrModify": change}]
        >>> plan = client.plan_bulk(search, bulk)
        >>> len(plan.changes), len(plan.already)
        (1, 1)

        The method reads the objects that the search finds and compares them
        with the changes. `apply_plan` then changes exactly the objects of
        the plan. `BulkPlan.save` keeps the plan in a file.

        Two kinds of changes can be foreseen: `modify` of fields, and
        `properties.createOrModify` with `name`, `value` and `type_id`. All
        others are refused: start them with `start_bulk`.

        A property is compared as text. An integer is equal to a str of its
        digits. `tags` and `parent_id` have no order. What an answer lacks
        cannot be told: such an object is in `changes`, if need be without
        fields.

        Args:
            search: The criteria, as for `start_bulk`.
            bulk: The changes, as for `start_bulk`.
            every_object: As for `start_bulk`.

        Returns:
            The plan.

        Raises:
            ValueError, TypeError: An argument cannot be used, or a change
                cannot be foreseen. Nothing was sent.
            SaymonError: As for `search_objects`.
            ClosedError: The client is closed.
        """
        from ._plans import apply, steps

        return steps.run(apply.plan(steps.Blocking(self, self.wait_for_bulk, READING), search, bulk, every_object))

    async def plan_bulk_async(
        self, search: Mapping[str, Any], bulk: Sequence[BulkChange | Mapping[str, Any]], *, every_object: bool = False
    ) -> BulkPlan:
        """See which objects a bulk would change, as a coroutine.

        >>> plan = await client.plan_bulk_async(
        ...     {"name": "CPU"}, [{"modify": {"weight": 2}}]
        ... )
        >>> plan.matched
        2

        The twin of `plan_bulk`: arguments, result and errors are the same.
        A cancelled task drops its request.
        """
        from ._plans import apply, steps

        return await apply.plan(steps.Awaited(self, self.wait_for_bulk_async, READING), search, bulk, every_object)

    def apply_plan(
        self,
        plan: BulkPlan,
        *,
        at_most: int | None = None,
        skip_stale: bool = False,
        part_size: int = PART_SIZE,
        journal: str | PathLike[str] | None = None,
        settle: float = SETTLE,
        timeout: float | None = TIMEOUT,
        interval: float = INTERVAL,
        max_interval: float = MAX_INTERVAL,
        retries: int = RETRIES,
        on_poll: OnPoll | None = None,
    ) -> BulkReport:
        """Carry out a plan: start, wait, and check each object.

        >>> plan = client.plan_bulk(search, bulk)
        >>> report = client.apply_plan(plan, journal="plan.log")
        >>> report.ok, len(report.as_asked)
        (True, 1)

        The method reads the objects again by their ids. An object that is
        as asked by now is left out. If an object has changed since the
        plan was made, in a field that the plan touches, or is gone, the
        method refuses the plan and starts nothing. Then it takes part by
        part: it reads the objects once more, starts one operation for
        their ids, waits for it, and reads what has become of them. It
        stops after a part with an object that is not as asked.

        Between the last read and the start, some seconds stay open: the
        server cannot compare and set. Each object gets the whole bulk,
        also if it lacks only a part of it.

        With a journal, make the same call again after any end: it sends no
        object twice. The method first settles what the journal leaves
        open, also of earlier plans. Without a journal, an apply has no
        memory.

        Args:
            plan: The plan, from `plan_bulk` or `BulkPlan.load`.
            at_most: The most objects that may be changed. A larger plan is
                refused. None (default) sets no limit.
            skip_stale: False (default) refuses a plan with objects that
                have changed since. True leaves these objects out.
            part_size: The most objects of one operation; 10,000 by default.
                Many gateways take a body of 1 MiB, which is 38,000 ids. An
                HTTP 413 halves the part.
            journal: The path of a file that remembers what was started. One
                apply at a time may use it. None (default) keeps none.
            settle: Seconds in which objects that are not as asked are read
                again, after 1, 2, 4 and 8 s, since reads may come from a
                cache; 15 by default.
            timeout: As for `wait_for_bulk`, for each part.
            interval: As for `wait_for_bulk`.
            max_interval: As for `wait_for_bulk`.
            retries: As for `wait_for_bulk`. It holds for the reads too:
                the pauses of one read last `timeout` at most.
            on_poll: As for `wait_for_bulk`.

        Returns:
            The report, also if objects are not as asked: see its `ok`.

        Raises:
            ValueError, TypeError: An argument cannot be used, or the file
                is no journal. Nothing was sent.
            OSError: The journal cannot be written. Nothing was started
                after that.
            PlanRefusedError: This call started nothing. `reason` says why.
            StartUncertainError: As for `start_bulk`; with a journal also
                about a start of an earlier call.
            WaitTimeoutError: `timeout` passed for a part.
            SaymonError: As for `search_objects`, `start_bulk` and
                `wait_for_bulk`. Also if the journal cannot be written after
                a start: `id` is that of the operation. The attribute
                `report` of each error holds what is known so far.
            ClosedError: The client is closed.
        """
        from . import _iterators
        from ._plans import apply, steps

        # A check of these arguments: it sends nothing.
        self._waits((), (timeout, interval, max_interval, retries, 1), False, _iterators.on_step(on_poll), None)
        polling = {"timeout": timeout, "interval": interval, "max_interval": max_interval, "retries": retries}
        server = steps.Blocking(self, self.wait_for_bulk, {**polling, "on_poll": on_poll})
        return steps.run(apply.apply(server, plan, at_most, skip_stale, part_size, journal, settle))

    async def apply_plan_async(
        self,
        plan: BulkPlan,
        *,
        at_most: int | None = None,
        skip_stale: bool = False,
        part_size: int = PART_SIZE,
        journal: str | PathLike[str] | None = None,
        settle: float = SETTLE,
        timeout: float | None = TIMEOUT,
        interval: float = INTERVAL,
        max_interval: float = MAX_INTERVAL,
        retries: int = RETRIES,
        on_poll: AsyncOnPoll | None = None,
    ) -> BulkReport:
        """Carry out a plan, as a coroutine.

        >>> plan = await client.plan_bulk_async(search, bulk)
        >>> report = await client.apply_plan_async(plan)
        >>> report.ok
        True

        The twin of `apply_plan`: arguments, result and errors are the same.
        A cancelled task leaves a start that is under way uncertain, and a
        started operation goes on, on the server. The journal remembers
        both.
        """
        from . import _iterators
        from ._plans import apply, steps

        _iterators.check(on_poll)
        # A check of these arguments: it sends nothing.
        self._async_waits((), (timeout, interval, max_interval, retries, 1), False)
        polling = {"timeout": timeout, "interval": interval, "max_interval": max_interval, "retries": retries}
        server = steps.Awaited(self, self.wait_for_bulk_async, {**polling, "on_poll": on_poll})
        return await apply.apply(server, plan, at_most, skip_stale, part_size, journal, settle)

    def verify_plan(self, plan: BulkPlan, *, settle: float = SETTLE) -> BulkReport:
        """See whether the objects of a plan are as asked. Nothing changes.

        >>> report = client.verify_plan(plan, settle=0)
        >>> print(report)
        CPU (a1)  Room is "5", not "7" (unchanged)
        0 objects as asked, 1 not as asked yet, 0 cannot be told

        The method needs no start of this package. It answers after a
        StartUncertainError, or days later, from a file. "As asked" says
        what is so, not who did it. "Gone" also means that the login cannot
        see the object any more.

        Args:
            plan: The plan, from `plan_bulk` or `BulkPlan.load`.
            settle: As for `apply_plan`; 15 by default. 0 reads once.

        Returns:
            The report.

        Raises:
            ValueError, TypeError: An argument cannot be used. Nothing was
                sent.
            PlanRefusedError: The plan is for another server.
            SaymonError: As for `search_objects`.
            ClosedError: The client is closed.
        """
        from ._plans import apply, steps

        return steps.run(apply.verify(steps.Blocking(self, self.wait_for_bulk, READING), plan, settle, PART_SIZE))

    async def verify_plan_async(self, plan: BulkPlan, *, settle: float = SETTLE) -> BulkReport:
        """See whether the objects of a plan are as asked, as a coroutine.

        >>> (await client.verify_plan_async(plan, settle=0)).ok
        False

        The twin of `verify_plan`: arguments, result and errors are the
        same. A cancelled task drops its request.
        """
        from ._plans import apply, steps

        return await apply.verify(steps.Awaited(self, self.wait_for_bulk_async, READING), plan, settle, PART_SIZE)

    def start_bulk(
        self, search: Mapping[str, Any], bulk: Sequence[BulkChange | Mapping[str, Any]], *, every_object: bool = False
    ) -> BulkStart:
        """Start a bulk operation on the objects that a search finds.

        >>> search = {"name": {"$regex": "^CPU$"}}
        >>> change = {"name": "Room", "value": "7"}
        >>> bulk = [{"properties.createOrModify": change}]
        >>> started = client.start_bulk(search, bulk)
        >>> client.wait_for_bulk(started["bulkId"])
        {'finished': True}

        The method sends one `POST /node/api/bulk/objects`, at most once and
        on a new connection. The login needs the permissions `run-bulks` and
        `manage-objects`.

        Args:
            search: The criteria, a mapping as the vendor documents it. The
                server reads an empty one as every object of the
                installation.
            bulk: The changes, a list or tuple of mappings as the vendor
                documents them; at least one.
            every_object: False (default) refuses an empty search. True
                sends an empty search, and refuses any other.

        Returns:
            The JSON object of the server as a dict: `bulkId` is the id of
            the operation, `finished` a bool.

        Raises:
            ValueError, TypeError: An argument cannot be used. The text
                names the argument and the place in it. Nothing was sent.
            StartUncertainError: The server may have started the operation
                or may not. Look at the server before you start it again.
            AuthError, NotFoundError, HTTPStatusError, TransportError: The
                operation was not started. The same is true of every error
                but StartUncertainError.
            ClosedError: The client is closed.

        Source: the vendor's page "Run Bulk Operation for Objects".
        """
        from . import _start_body

        return self._start_bulk(_start_body.body(search, bulk, every_object), _start_body.request_id())

    async def start_bulk_async(
        self, search: Mapping[str, Any], bulk: Sequence[BulkChange | Mapping[str, Any]], *, every_object: bool = False
    ) -> BulkStart:
        """Start a bulk operation, as a coroutine.

        >>> started = await client.start_bulk_async(
        ...     {"name": "CPU"}, [{"modify": {"owner_id": "7"}}]
        ... )
        >>> await client.wait_for_bulk_async(started["bulkId"])
        {'finished': True}

        The twin of `start_bulk`: arguments, result and errors are the same.
        A cancelled task leaves the outcome uncertain: the server may have
        started the operation. A warning in the log says so.
        """
        from . import _start_body

        return await _start_body.awaited(self, self._start_bulk_awaitable, _start_body.body(search, bulk, every_object))

    def start_clone(self, object_id: str) -> BulkStart:
        """Start a bulk operation that clones an object.

        >>> started = client.start_clone("62d7e58056d203149a08001b")
        >>> client.wait_for_bulk(started["bulkId"])
        {'finished': True}

        The method sends one `POST /node/api/objects/:id/clone-bulk`, at
        most once and on a new connection. The login needs the permission
        `create-objects` or `manage-objects`.

        Args:
            object_id: The id of the object, or "discovery id:" followed by
                its discovery id.

        Returns:
            The JSON object of the server as a dict: `bulkId` is the id of
            the operation, `finished` a bool.

        Raises:
            NotFoundError: The server knows no such object.
            StartUncertainError: The server may have started the operation
                or may not. Look at the server before you start it again.
            Exception: All others as for `start_bulk`. The operation was not
                started.

        Source: the vendor's page "Clone Object in Background".
        """
        from . import _start_body

        return self._start_clone(object_id, _start_body.request_id())

    async def start_clone_async(self, object_id: str) -> BulkStart:
        """Start a bulk operation that clones an object, as a coroutine.

        >>> started = await client.start_clone_async(
        ...     "62d7e58056d203149a08001b"
        ... )
        >>> await client.wait_for_bulk_async(started["bulkId"])
        {'finished': True}

        The twin of `start_clone`: arguments, result and errors are the
        same. A cancelled task leaves the outcome uncertain: the server may
        have started the operation. A warning in the log says so.
        """
        from . import _start_body

        return await _start_body.awaited(self, self._start_clone_awaitable, object_id)

    async def get_bulk_status_async(self, id: str) -> BulkStatus:
        """Ask once whether a bulk operation has finished, as a coroutine.

        >>> await client.get_bulk_status_async(bulk_id)
        {'finished': True}

        The twin of `get_bulk_status`: arguments, result and errors are the
        same. A cancelled task drops its request.
        """
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

        >>> statuses = client.get_bulk_statuses(ids)
        >>> sum(status["finished"] for status in statuses.values())
        3

        Args:
            ids: The ids of the operations: an iterable, but not a str. The
                method asks once for an id that is repeated.
            concurrency: How many requests may be under way at the same
                time; 16 by default, 1,024 at most.
            return_exceptions: False (default) raises the first error. Its
                `id` says which operation it is about. True puts the error
                in the place of the status.

        Returns:
            A dict from id to status, in the order of `ids`.

        Raises:
            ValueError, TypeError: An argument cannot be used. Nothing was
                sent.
            SaymonError: As for `get_bulk_status`, unless
                `return_exceptions` is True.
            ClosedError: The client is closed.
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
        """Ask once for each of many bulk operations, as a coroutine.

        >>> statuses = await client.get_bulk_statuses_async(ids)
        >>> sum(status["finished"] for status in statuses.values())
        3

        The twin of `get_bulk_statuses`: arguments, result and errors are
        the same. A cancelled task drops its requests.
        """
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

        >>> client.wait_for_bulk(bulk_id, timeout=600)
        {'finished': True}

        The first poll comes at once. Each pause after that is a tenth of
        the time waited so far, at least `interval` and at most
        `max_interval`: the longer an operation runs, the rarer the polls.
        After failures in a row, each pause is 1.5 times the one before, up
        to `max_interval`. Each pause is changed at random, by up to a
        tenth. A Retry-After header lengthens the next pause.

        Ctrl-C ends the wait at any moment. The operation goes on, on the
        server.

        Args:
            id: The id of the operation.
            timeout: Seconds for the whole wait; 3600 by default. None waits
                without limit, 0 asks once. When the time is over, the wait
                makes a last poll, which may take another second. A running
                `on_poll` is not interrupted. If the operation has finished
                by then, that is still told.
            interval: Seconds of the shortest pause; 1 by default.
            max_interval: Seconds of the longest pause; 10 by default, and
                never less than `interval`. A larger value means fewer polls
                of operations that run for minutes.
            retries: How many failures in a row the wait tolerates; 10 by
                default. It tolerates HTTP 408, 429, 500, 502, 503 and 504,
                connections that are refused or cut off, and requests that
                time out. After the first good answer it also tolerates a
                name that does not resolve and a failed TLS handshake. A
                kept connection that has died in silence is no failure.
            on_poll: A function that the wait calls after every good answer,
                in this thread: on_poll(id, status, elapsed), with the
                seconds since the start of the wait. An exception of the
                function ends the wait. A coroutine function is refused: it
                is for `wait_for_bulk_async`.

        Returns:
            The status, with `finished` True. Finished does not mean
            succeeded.

        Raises:
            ValueError, TypeError: An argument cannot be used. Nothing was
                sent.
            WaitTimeoutError: `timeout` passed.
            SaymonError: As for `get_bulk_status`: an error that the wait
                does not tolerate, or the last of too many in a row.
            ClosedError: The client is closed.

        Source: RFC 9110 section 10.2.3, Retry-After.
        """
        from . import _iterators

        polling = (timeout, interval, max_interval, retries, 1)
        waits = self._waits(_one(id), polling, False, _iterators.on_step(on_poll), None)
        status: BulkStatus = waits._only()[1]
        return status

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
        """Wait until a bulk operation has finished, as a coroutine.

        >>> await client.wait_for_bulk_async(bulk_id, timeout=600)
        {'finished': True}

        The twin of `wait_for_bulk`: arguments, result and errors are the
        same. A cancelled task drops its request. The event loop calls
        `on_poll`, which may be a coroutine function: the next poll comes
        after the coroutine has ended, or at the timeout.
        """
        from . import _iterators

        _iterators.check(on_poll)
        waits = self._async_waits(_one(id), (timeout, interval, max_interval, retries, 1), False)
        try:
            item = await _iterators.next_item(waits, on_poll)
        finally:
            waits.close()
        assert item is not None
        status: BulkStatus = item[1]
        return status

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
        """Wait for many bulk operations: (id, status) as each one finishes.

        >>> for bulk_id, status in client.wait_for_bulks(ids[:1]):
        ...     print(bulk_id, "has finished")
        079b3102-c326-4dd7-bf48-a945232b32d6 has finished
        >>> statuses = dict(client.wait_for_bulks(ids))
        >>> sum(status["finished"] for status in statuses.values())
        3

        `tqdm(client.wait_for_bulks(ids), total=len(ids))` is a progress
        bar.

        The wait begins when the program asks for the first item, and goes
        on while the loop body runs. The polls stop when the program leaves
        the loop and drops the iterator. `close()` stops them at once:

        >>> import contextlib
        >>> waiting = client.wait_for_bulks(ids)
        >>> with contextlib.closing(waiting) as statuses:
        ...     bulk_id, status = next(statuses)
        >>> list(waiting)
        []

        One thread at a time may use the iterator. A second one gets a
        RuntimeError.

        Args:
            ids: The ids of the operations: an iterable, but not a str. An
                id that is repeated is one operation.
            timeout: Seconds for all operations together, as for
                `wait_for_bulk`; 3600 by default. Operations that have
                finished by then still come, however long the loop body
                takes.
            interval: As for `wait_for_bulk`, for each operation.
            max_interval: As for `wait_for_bulk`, for each operation.
            retries: As for `wait_for_bulk`, for each operation.
            on_poll: As for `wait_for_bulk`, for each operation.
            concurrency: How many polls may be under way at the same time;
                16 by default, 1,024 at most.
            return_exceptions: False (default) raises the first error. Its
                `id` says which operation it is about. True yields the error
                in the place of the status and goes on.

        Raises:
            ValueError, TypeError: An argument cannot be used. The call
                raises it, before the first item.
            WaitTimeoutError: `timeout` passed. `pending` has all operations
                that had not finished.
            SaymonError: As for `wait_for_bulk`, unless `return_exceptions`
                is True.
            ClosedError: The client is closed.
        """
        from . import _iterators

        polling = (timeout, interval, max_interval, retries, concurrency)
        return self._waits(ids, polling, return_exceptions, _iterators.on_step(on_poll), None)

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
        """Wait for many bulk operations with `async for`.

        >>> waiting = client.wait_for_bulks_async(ids[:1])
        >>> async for bulk_id, status in waiting:
        ...     print(bulk_id, "has finished")
        079b3102-c326-4dd7-bf48-a945232b32d6 has finished

        The twin of `wait_for_bulks`: arguments, items and errors are the
        same. `aclose()` stops the polls, and so does the end of
        `async with contextlib.aclosing(...)`. The event loop calls
        `on_poll`, which may be a coroutine function.
        """
        from . import _iterators

        _iterators.check(on_poll)
        waits = self._async_waits(ids, (timeout, interval, max_interval, retries, concurrency), return_exceptions)
        return _iterators.AsyncBulkIterator(waits, on_poll)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _one(id: object) -> list[str]:
    # A wait for one is a wait for many. Its errors name the argument `id`, not `ids`.
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
    """Ask a SAYMON server once for a status, as a coroutine.

    >>> await saymon_bulk.get_bulk_status_async(
    ...     "monitor.example.com", bulk_id, "login", "password"
    ... )
    {'finished': True}

    The twin of `get_bulk_status`: arguments, result and errors are the
    same. A cancelled task drops its request.
    """
    client = _core.Client.__new__(Client)
    try:
        client._open(host, login, password, request_timeout, verify, cert)
    finally:
        password = "***"
    client._warn()
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
    """Wait until a bulk operation has finished, without a client.

    >>> saymon_bulk.wait_for_bulk(
    ...     "monitor.example.com", bulk_id, "login", "password", timeout=600
    ... )
    {'finished': True}

    `Client.wait_for_bulk` says more about the polls and the arguments.

    Args:
        host: As for `get_bulk_status`.
        id: As for `get_bulk_status`.
        login: As for `get_bulk_status`.
        password: As for `get_bulk_status`.
        timeout: Seconds for the whole wait; 3600 by default. None waits
            without limit, 0 asks once.
        interval: Seconds of the shortest pause between polls; 1 by default.
        max_interval: Seconds of the longest pause; 10 by default.
        retries: How many failures in a row the wait tolerates; 10 by
            default.
        on_poll: A function that the wait calls after every good answer:
            on_poll(id, status, elapsed).
        request_timeout: Seconds for one exchange; 30 by default.
        verify: As for `get_bulk_status`.
        cert: As for `get_bulk_status`.

    Returns:
        The status, with `finished` True. Finished does not mean succeeded.

    Raises:
        ValueError, TypeError: An argument cannot be used. Nothing was sent.
        WaitTimeoutError: `timeout` passed. The operation goes on, on the
            server.
        SaymonError: As for `get_bulk_status`: an error that the wait does
            not tolerate, or the last of too many in a row.
    """
    client = _core.Client.__new__(Client)
    try:
        client._open(host, login, password, request_timeout, verify, cert)
    finally:
        password = "***"
    client._warn()
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
    """Wait until a bulk operation has finished, as a coroutine.

    >>> await saymon_bulk.wait_for_bulk_async(
    ...     "monitor.example.com", bulk_id, "login", "password", timeout=600
    ... )
    {'finished': True}

    The twin of `wait_for_bulk`: arguments, result and errors are the same.
    A cancelled task drops its request. The event loop calls `on_poll`,
    which may be a coroutine function: the next poll comes after the
    coroutine has ended, or at the timeout.
    """
    client = _core.Client.__new__(Client)
    try:
        client._open(host, login, password, request_timeout, verify, cert)
    finally:
        password = "***"
    client._warn()
    return await client.wait_for_bulk_async(
        id, timeout=timeout, interval=interval, max_interval=max_interval, retries=retries, on_poll=on_poll
    )
