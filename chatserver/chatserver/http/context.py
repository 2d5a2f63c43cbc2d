"""The parts that every handler can use, and the identity of the caller."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

from sanic import Request as SanicRequest
from sanic import Sanic
from sanic.config import Config

from chatserver.errors import BadRequest, Forbidden, Unauthenticated
from chatserver.http.browser_sessions import cookie_token
from chatserver.http.call import call_of
from chatserver.http.compression import Compressor
from chatserver.limits.rates import stored_bytes
from chatserver.transport.kept import ARRIVING_BYTES, UNREAD_BYTES, Kept

if TYPE_CHECKING:
    import asyncio

    from chatserver.accounts.code_senders import Sender
    from chatserver.accounts.deletion import Deletions
    from chatserver.accounts.devices import Devices
    from chatserver.accounts.export import Exports
    from chatserver.accounts.sign_in import Accounts
    from chatserver.fanout.bus import Bus
    from chatserver.fanout.delivery import Deliverer
    from chatserver.fanout.hub import Hub
    from chatserver.fanout.polling import Polls
    from chatserver.fanout.push_times import PushTimes
    from chatserver.fanout.sweeping import HintSweep
    from chatserver.fanout.syncing import Syncs
    from chatserver.fleet.balancing import Balancer
    from chatserver.fleet.health import Health
    from chatserver.fleet.moving import Mover
    from chatserver.http.admission import Admission
    from chatserver.limits.rates import Limits
    from chatserver.limits.sharing import LimitSharing
    from chatserver.messaging.expiry import Expiry
    from chatserver.messaging.messages import MessageSender
    from chatserver.messaging.receipts import Receipts
    from chatserver.messaging.writer import MessageWriter
    from chatserver.metrics import Metrics
    from chatserver.model import Principal
    from chatserver.settings import Settings
    from chatserver.storage.database import Database
    from chatserver.transport.upkeep import Sockets
    from chatserver.transport.write_coalescing import WriteCoalescer
    from chatserver.users.number_lookups import NumberLookups

PROBE_CALLS = frozenset({"GET /api/ws", "GET /api/chats", "GET /api/chats/{chat_id}/messages", "GET /api/users/me"})
"""Calls of the chat's probe; whoever has its token can do nothing else."""

# Letters that are safe in logs and headers; longer ids are rather payload.
_SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}")


@dataclass(slots=True)
class Context:
    """The parts that handlers use, wired by wiring.py.

    Attributes:
        admission: places for the handshakes of new WebSockets.
        limit_sharing: counts the limits together with other servers; None: each server counts for itself.
        sweep: publishes hints that servers left when they ended.
        sockets: the open ones, which one loop pings.
        unread: answers that their clients have not read.
        arriving: large requests that are arriving or being answered.
        coalescer: does in the next turn of the event loop what is due for connections, such as writing.
        push_times: times the frames of rows that it writes.
        compressor: compresses answers.
        tasks: work that outlives the frame that started it (sends, receipts).
    """

    settings: Settings
    metrics: Metrics
    database: Database
    devices: Devices
    accounts: Accounts
    sender: Sender
    deletions: Deletions
    exports: Exports
    expiry: Expiry
    limits: Limits
    limit_sharing: LimitSharing | None
    numbers: NumberLookups
    writer: MessageWriter
    messages: MessageSender
    receipts: Receipts
    hub: Hub
    syncs: Syncs
    deliverer: Deliverer
    push_times: PushTimes
    polls: Polls
    bus: Bus
    sweep: HintSweep
    health: Health
    mover: Mover
    balancer: Balancer
    admission: Admission
    coalescer: WriteCoalescer
    sockets: Sockets
    unread: Kept = field(default_factory=lambda: Kept(UNREAD_BYTES, "answer_not_read"))
    arriving: Kept = field(default_factory=lambda: Kept(ARRIVING_BYTES, "requests_given_up"))
    compressor: Compressor = field(default_factory=Compressor)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


App = Sanic[Config, Context]
Request = SanicRequest[App, SimpleNamespace]


def request_id(request: Request) -> str:
    """Return the request's id: the caller's if it is safe, else a new one."""
    known: str | None = getattr(request.ctx, "request_id", None)
    if known is None:
        given: str = request.headers.get("x-request-id", "")
        known = given if _SAFE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.ctx.request_id = known
    return known


def started_at(request: Request) -> float:
    """Return when the request was read, of ``time.monotonic``; now, if it was rejected before."""
    started: float | None = getattr(request.ctx, "started", None)
    return time.monotonic() if started is None else started


def bearer_token(request: Request) -> str | None:
    """Return the token of the Authorization header, if there is one.

    Raises:
        BadRequest: there are several: a proxy may have read another one.
    """
    values = request.headers.getall("authorization", [])
    if len(values) > 1:
        raise BadRequest("There is more than one Authorization header. Send only that of this device.")
    scheme, _, token = (values[0] if values else "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def authenticate(request: Request) -> Principal:
    """Return who is calling, and count the call.

    Raises:
        BadRequest: there is more than one Authorization header.
        Unauthenticated: no token, or one that is unknown, expired or revoked.
        Forbidden: the chat's probe makes another call than those of its work, or a request with the session's cookie
            does not come from a page of this server.
        RateLimited: the device makes too many requests.
        ServiceUnavailable: the database is unavailable.
    """
    token = bearer_token(request) or cookie_token(request)
    if token is None:
        raise Unauthenticated
    context = request.app.ctx
    principal = await context.devices.authenticate(token)
    context.limits.check_request(principal.device_id, time.monotonic())
    request.ctx.user_id = principal.user_id
    if principal.is_probe:
        _check_probe(request)
    return principal


def _check_probe(request: Request) -> None:
    call = call_of(request)
    if call is None or call.route not in PROBE_CALLS:
        raise Forbidden


def answered_to(request: Request) -> int | str:
    """Return who is being answered: the user, once it is known who calls, else the address."""
    return getattr(request.ctx, "user_id", None) or client_address(request)


def count_change(request: Request, caller: Principal, *texts: str | None, rows: int = 1, changes: int = 1) -> None:
    """Count a change that the caller makes, before anything is done for it.

    Args:
        request: the call.
        caller: who makes it.
        texts: that it has stored.
        rows: that it has stored.
        changes: as how many messages it counts.

    Raises:
        RateLimited: the caller makes too many changes, or has too many bytes stored.
    """
    limits = request.app.ctx.limits
    limits.check_change(caller.user_id, time.monotonic(), stored_bytes(*texts, rows=rows), changes)


def client_address(request: Request) -> str:
    """Return the address of the client, as the proxies that are trusted saw it."""
    hops = request.app.ctx.settings.trusted_proxy_hops
    entries: list[str] = [
        e.strip() for header in request.headers.getall("x-forwarded-for", []) for e in header.split(",")
    ]
    if hops and len(entries) >= hops:
        return entries[-hops]
    return str(request.ip)
