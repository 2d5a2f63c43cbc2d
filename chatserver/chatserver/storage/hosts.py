"""The hosts of a DSN that names several, and attempts of which the next begins before the one before has given up.

asyncpg tries the hosts one after the other within one time limit, so that a host which drops packets, as a lost node
does, takes the time of all that follow it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

Result = TypeVar("Result")

HEAD_START_SECONDS = 0.3
"""Seconds until the next of several hosts is tried beside one that has not answered: many times what a connection with
TLS takes, and five hosts are tried within two seconds."""


class Host(NamedTuple):
    """One host of a DSN; `port` is None where the DSN names none."""

    name: str
    port: int | None


def hosts_of(dsn: str) -> tuple[Host, ...]:
    """Return the hosts of a DSN that names several, in order; none for any other, which asyncpg reads itself.

    Example:
        >>> hosts_of("postgresql://chat@a,b:5433/chat")
        (Host(name='a', port=None), Host(name='b', port=5433))
        >>> hosts_of("postgresql://chat@a/chat")
        ()
    """
    try:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        places = parts.netloc.rpartition("@")[2]
        if places:
            found = tuple(_host(unquote(place)) for place in places.split(","))
        else:
            names = query.get("host", [""])[-1].split(",")
            ports = [int(port) if port else None for port in query.get("port", [""])[-1].split(",")]
            each = ports * len(names) if len(ports) == 1 else ports
            found = tuple(Host(name, port) for name, port in zip(names, each, strict=True))
    except ValueError:
        # asyncpg says what is wrong with it.
        return ()
    return found if len(found) > 1 and all(host.name for host in found) else ()


def _host(place: str) -> Host:
    if place.startswith("["):
        name, _, rest = place[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = place.partition(":")
    return Host(name, int(port) if port else None)


async def first_of(
    tries: Sequence[Callable[[], Coroutine[Any, Any, Result]]],
    *,
    head_start_seconds: float,
    discard: Callable[[Result], object],
) -> Result:
    """Return the result of the first attempt that succeeds.

    Each begins when the one before it has failed, or has taken `head_start_seconds`; the others are cancelled.

    Args:
        tries: begin the attempts, the preferred one first; at least one.
        head_start_seconds: between the starts of two of them.
        discard: takes a result that came at the same time as an earlier attempt's.

    Raises:
        Exception: of an attempt, when all have failed: the last one that is no failure of the network, if any.
    """
    waiting, running, errors = list(tries), list[asyncio.Task[Result]](), list[BaseException]()
    try:
        while waiting or running:
            if waiting:
                running.append(asyncio.create_task(waiting.pop(0)()))
            await asyncio.wait(
                running, timeout=head_start_seconds if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in [task for task in running if task.done()]:
                error = task.exception()
                running.remove(task)
                if error is None:
                    return task.result()
                errors.append(error)
    finally:
        for task in running:
            task.cancel()
        for left in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(left, BaseException):
                discard(left)
    raise next((error for error in reversed(errors) if not isinstance(error, OSError)), errors[-1])


async def connect_first(
    dsn: str,
    connect: Callable[[str | None, int | None], Coroutine[Any, Any, Result]],
    *,
    seconds: float,
    discard: Callable[[Result], object],
) -> Result:
    """Return a connection to the first host of a DSN that gives one.

    Args:
        dsn: with any number of hosts.
        connect: connects to a host and a port, or where these are None to those of the DSN.
        seconds: for all hosts together.
        discard: closes a connection.

    Raises:
        TimeoutError: none does in time.
        Exception: as of `connect`.
    """
    hosts = hosts_of(dsn)
    if not hosts:
        return await connect(None, None)
    async with asyncio.timeout(seconds):
        return await first_of(
            [partial(connect, host.name, host.port) for host in hosts],
            head_start_seconds=min(HEAD_START_SECONDS, seconds / 2 / len(hosts)),
            discard=discard,
        )
