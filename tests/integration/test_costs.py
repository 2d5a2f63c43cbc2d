"""What the most expensive request of each kind costs is bounded, for a user who owns as much as one can.

Each REST call is made with each of its parameters at its extremes, and each frame at its largest. The table of bounds
is the promise; a call that is not in it fails.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatserver.accounts.device_limit import DEVICES_OF_A_USER
from chatserver.bounds import TEXT_MAX_CHARS, TIMER_MOST_SECONDS
from chatserver.messaging.invite_codes import RANDOM_BYTES, digest_of, make_code
from chatserver.protocol import MAX_SUBSCRIBED_USERS
from chatserver.routes import CALLS
from chatserver.storage.database import single_connection
from chatserver.users.blocks import BLOCKS_MAX
from tests.support.costs import COUNTING, Cost, Meter, table
from tests.support.devices import Device, Socket, sign_in
from tests.support.filling import fill_chats, fill_groups
from tests.support.findings import tell
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from chatserver.http.call import Call

pytestmark = pytest.mark.integration

CHATS, GROUPS, MEMBERS = 2000, 8, 1024
BIG, GROUP, REACTED = 5_000_000, 2_000_001, 5_000_001
LARGE_ROWS = 80

# A character that JSON writes in six bytes; a chat of such texts; a message with a reaction of each member.
_OWNED = """
WITH made AS (
    INSERT INTO chats (chat_id, kind, last_seq, last_at) VALUES (5000000, 'group', $2, now() + interval '1 day')
), named AS (
    INSERT INTO groups (group_id, group_name, created_by) VALUES (5000000, 'large', $1)
), joined AS (
    INSERT INTO chat_members (chat_id, user_id, role) VALUES (5000000, $1, 'admin')
)
INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at)
SELECT 5000000, n, $1, repeat(chr(1), $3::int), now() FROM generate_series(1, $2::int) AS n
"""
_REACTIONS = """
UPDATE messages SET reactions = (
    SELECT jsonb_object_agg(user_id, chr(127744 + (user_id % 300)::int)) FROM chat_members WHERE chat_id = $1)
WHERE chat_id = $1
"""
_BLOCKS = """
WITH people AS (
    INSERT INTO users (phone_number) SELECT '+1888' || lpad(n::text, 7, '0') FROM generate_series(1, $2::int) AS n
    RETURNING user_id
)
INSERT INTO blocks (blocker_id, blocked_id) SELECT $1, user_id FROM people
"""

CODE = make_code(5_000_002, b"0" * RANDOM_BYTES)
_INVITE = """
WITH made AS (
    INSERT INTO chats (chat_id, kind) VALUES (5000002, 'group')
), named AS (
    INSERT INTO groups (group_id, group_name, created_by) VALUES (5000002, 'other', $2) RETURNING group_id
), joined AS (
    INSERT INTO chat_members (chat_id, user_id)
    SELECT 5000002, user_id FROM chat_members WHERE chat_id = $1 AND user_id <> $2 LIMIT 30
)
INSERT INTO group_invites (group_id, code_hash, created_by, expires_at)
SELECT group_id, $3, $2, now() + interval '1 day' FROM named
"""

KB, NOTHING = 1000, Cost(0, 0, 0, 0, 0, 0.0)


def most(kilobytes: int, statements: int = 3, rows: int = 20, blocks: int = 400, memory_mib: int = 8) -> Cost:
    """Return a bound: what nearly every call keeps within, unless it says more."""
    return Cost(0, kilobytes * KB, statements, rows, blocks, memory_mib)


_OF_A_LARGE_GROUP = {"rows": 1200, "blocks": 4500}
BOUNDS: dict[str, Cost] = {
    # The publication of its hint, and a sweep, which goes by the clock: two statements.
    "frame send": most(2, 8, blocks=1600),
    "frame delivered": most(2, 9, **_OF_A_LARGE_GROUP),
    "frame read": most(2, 9, **_OF_A_LARGE_GROUP),
    "frame typing": most(2, 9, **_OF_A_LARGE_GROUP),
    # Paced by the reader: what waits for one is bounded by its outbox.
    "frame sync": most(20_000, 36, 12_000, 240_000, 48),
    "frame subscribe": most(120, rows=1100, blocks=20_000),
    "frame ping": most(1),
    "POST /api/auth/code": most(1, 7),
    "POST /api/auth/session": most(1, 5),
    "DELETE /api/auth/session": most(1, 7),
    "GET /api/devices": most(8, rows=40),
    "DELETE /api/devices/{device_id}": most(1, 5),
    "POST /api/ws-ticket": most(1),
    "GET /api/users/me": most(1),
    "PATCH /api/users/me": most(3, 8),
    "PUT /api/users/me/phone_number": most(1, 20),
    # Page by page, as fast as the client reads.
    "GET /api/users/me/export": most(100_000, 160, 30_000, 500_000, 48),
    # Each PIN is hashed in 16 MiB.
    "PUT /api/users/me/pin": most(1, 16, memory_mib=40),
    # The allowances of the user and the address, and whom they have found.
    "POST /api/users/lookup": most(350, 14, 4500, 30_000, 16),
    "GET /api/users/me/privacy": most(1),
    "PATCH /api/users/me/privacy": most(1, 9),
    "DELETE /api/users/me": most(1, 16, rows=200, blocks=500),
    "GET /api/users": most(3, 5, blocks=6000),
    "GET /api/users/{user_id}": most(1, blocks=6000),
    "POST /api/messages": most(1, 5, blocks=500),
    "GET /api/messages": most(4800, 4, 1100, 50_000, 32),
    "GET /api/chats": most(4800, 6, 300, 16_000, 32),
    "GET /api/chats/{chat_id}": most(900, 6, 20, 4500),
    "GET /api/chats/{chat_id}/messages": most(4800, 5, 1100, 2000, 32),
    "PATCH /api/chats/{chat_id}/messages/{seq}": most(1, 8),
    "DELETE /api/chats/{chat_id}/messages/{seq}": most(1, 9),
    "PUT /api/chats/{chat_id}/messages/{seq}/reactions/{emoji}": most(1, 6),
    "DELETE /api/chats/{chat_id}/messages/{seq}/reactions/{emoji}": most(1, 6),
    "GET /api/chats/{chat_id}/messages/{seq}/info": most(120, 5, 2200, 12_000),
    "PATCH /api/chats/{chat_id}": most(1, 9),
    "POST /api/chats/{chat_id}/clear": most(1, 10),
    "PUT /api/chats/{chat_id}/timer": most(1, 12),
    "PUT /api/chats/{chat_id}/messages/{seq}/star": most(1, 9),
    "DELETE /api/chats/{chat_id}/messages/{seq}/star": most(1, 9),
    "GET /api/stars": most(4800, 5, 300, 2000, 32),
    "GET /api/blocks": most(220, rows=10_000, blocks=400),
    "PUT /api/blocks/{user_id}": most(1, 8, blocks=500),
    "DELETE /api/blocks/{user_id}": most(1, 6),
    "POST /api/receipts": most(1, rows=5000, blocks=85_000),
    "POST /api/groups": most(120, 20, 8000, 45_000, 16),
    "PATCH /api/groups/{group_id}": most(120, 13, **_OF_A_LARGE_GROUP),
    "POST /api/groups/{group_id}/members/{user_id}": most(120, 18, **_OF_A_LARGE_GROUP),
    "DELETE /api/groups/{group_id}/members/{user_id}": most(120, 16, **_OF_A_LARGE_GROUP),
    "PUT /api/groups/{group_id}/members/{user_id}/role": most(120, 15, **_OF_A_LARGE_GROUP),
    "POST /api/groups/{group_id}/invites": most(1, 10),
    "GET /api/groups/{group_id}/invites": most(30, 5, 200),
    "DELETE /api/groups/{group_id}/invites/{invite_id}": most(1, 8),
    "POST /api/invites/preview": most(3, rows=1100),
    "POST /api/invites/join": most(1, 20, **_OF_A_LARGE_GROUP),
    "GET /livez": most(1),
    "GET /readyz": most(1),
    "GET /api/ws": most(1),
    "GET /openapi.json": most(150),
    "GET /asyncapi.json": most(40),
    "GET /docs": most(300),
}


class Owner:
    """A user who owns as much as one can, and what there is to ask of it."""

    def __init__(self, process: ServerProcess, device: Device, meter: Meter) -> None:
        self.process, self.device, self.meter = process, device, meter
        self.people: list[int] = []
        self.cursor = ""
        self.spare: list[Device] = []

    async def paths(self, call: Call) -> list[str]:
        """Return the addresses of a call, of what is largest and of what is not there."""
        chats = ((GROUP, 1), (BIG, LARGE_ROWS), (2**40, 1))
        device_id = self.spare.pop().device_id if "{device_id}" in call.path else 0
        known: list[dict[str, object]] = [
            {
                "chat_id": chat_id,
                "group_id": chat_id,
                "seq": seq,
                "emoji": "%F0%9F%91%8D",
                "user_id": self.people[0],
                "device_id": device_id,
                "invite_id": 1,
            }
            for chat_id, seq in chats
        ]
        return list(dict.fromkeys(call.path.format(**values) for values in known))

    def queries(self, call: Call) -> list[dict[str, Any]]:
        """Return all combinations of the extremes of a call's parameters."""
        values: list[list[tuple[str, Any] | None]] = []
        for parameter in call.query:
            schema = parameter.schema
            extremes: list[Any] = list(schema.get("enum", ()))
            if schema.get("type") == "integer":
                extremes = [schema["minimum"], schema["maximum"]] if parameter.name != "wait" else [0, 1]
            elif schema.get("type") == "boolean":
                extremes = ["true"]
            elif schema.get("type") == "string" and not extremes:
                extremes = {
                    "phone_number": [self.device.phone_number],
                    "username": ["p1"],
                    "since": ["0", self.cursor, str(int(time.time()) - 600)],
                    "cursor": [""],
                    "changed_since": [self.cursor],
                    "ticket": ["x" * 100],
                }[parameter.name]
            values.append([None, *((parameter.name, value) for value in extremes)])
        return [dict(filter(None, chosen)) for chosen in itertools.product(*values)]

    def bodies(self, call: Call) -> list[Any]:
        """Return a call's largest bodies."""
        text = "\x01" * TEXT_MAX_CHARS
        numbers = [f"+1777{n:07}" for n in range(1, MEMBERS)]
        bodies: dict[str, list[Any]] = {
            "POST /api/auth/code": [{"phone_number": "+14155559990"}],
            "POST /api/auth/session": [{"phone_number": "+14155559990", "code": "000000", "code_id": "x" * 64}],
            "PATCH /api/users/me": [{"profile_picture_url": "http://a/" + "b" * 2000}],
            "PUT /api/users/me/phone_number": [{"phone_number": "+14155559991", "code": "000000", "code_id": "x" * 64}],
            "PUT /api/users/me/pin": [{"pin": "482915"}, {"pin": None, "current_pin": "482915"}],
            "POST /api/users/lookup": [
                {
                    "phone_numbers": numbers[:500],
                    "usernames": [f"p{n}" for n in range(500)],
                    "user_ids": self.people[:500],
                }
            ],
            "PATCH /api/users/me/privacy": [{"last_seen": "contacts"}, {"about": "nobody", "last_seen": "everyone"}],
            "POST /api/messages": [
                {"chat_id": chat_id, "text": text, "client_id": str(uuid.uuid4())} for chat_id in (GROUP, BIG)
            ],
            "PATCH /api/chats/{chat_id}/messages/{seq}": [{"text": text}],
            "POST /api/chats/{chat_id}/clear": [{"up_to_seq": 2**62}],
            "PUT /api/chats/{chat_id}/timer": [{"seconds": TIMER_MOST_SECONDS}, {"seconds": None}],
            "PATCH /api/chats/{chat_id}": [{"muted_until": "9999-12-31T23:59:59Z", "archived": True, "pinned": True}],
            "POST /api/receipts": [
                {"chats": {str(1_000_000 + n): {"delivered_seq": 1, "read_seq": 1} for n in range(1, 5001)}},
            ],
            "POST /api/groups": [{"group_name": "g" * 100, "members": numbers}],
            "PATCH /api/groups/{group_id}": [
                {"group_name": "g" * 100},
                {"description": "d" * 2000, "picture_url": "https://a/" + "p" * 2000, "who_may_send": "admins"},
                {"description": None, "who_may_send": "everyone"},
            ],
            "PUT /api/groups/{group_id}/members/{user_id}/role": [{"role": "admin"}, {"role": "member"}],
            "POST /api/groups/{group_id}/invites": [{"max_uses": 1}],
            "POST /api/invites/preview": [{"code": CODE}, {"code": "x"}],
            "POST /api/invites/join": [{"code": CODE}, {"code": "x"}],
        }
        return bodies.get(call.route, [None] if call.body is None else [])


async def cost_of_one(
    owner: Owner, http: httpx.AsyncClient, call: Call, path: str, query: dict[str, Any], body: object
) -> Cost:
    """Return the cost of one request."""
    began = await owner.meter.begin()
    answer = await http.request(call.method, path, params=query, json=body)
    assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR, (call.route, path, query, answer.text)
    sent = len(answer.request.content) + len(str(answer.request.url)) + 200
    return await owner.meter.end(began, sent=sent, received=len(answer.content))


async def least(name: str, measure: Callable[[], Awaitable[Cost]]) -> Cost:
    """Return what is measured; above its bound it is measured again, since the server works by the clock too."""
    cost = await measure()
    for _ in range(3):
        if cost.is_within(BOUNDS.get(name, NOTHING)):
            break
        cost = cost.or_less(await measure())
    return cost


async def cost_of(owner: Owner, http: httpx.AsyncClient, call: Call) -> Cost:
    """Return the greatest cost of a call, over all that can be asked of it."""
    found = NOTHING
    bodies = owner.bodies(call)
    assert bodies, f"{call.route} needs its largest body here"
    for path, query, body in itertools.product(await owner.paths(call), owner.queries(call), bodies):
        measure = functools.partial(cost_of_one, owner, http, call, path, query, body)
        found = found.or_more(await least(call.route, measure))
    return found


def frames(owner: Owner) -> dict[str, dict[str, Any]]:
    """Return the most expensive frame of each kind."""
    return {
        "frame send": {"chat_id": GROUP, "text": "\x01" * TEXT_MAX_CHARS},
        "frame delivered": {"chat_id": GROUP, "seq": 1},
        "frame read": {"chat_id": GROUP, "seq": 1},
        "frame typing": {"chat_id": GROUP},
        "frame sync": {"chats": {}},
        "frame subscribe": {"user_ids": owner.people},
        "frame ping": {},
    }


async def cost_of_frame(owner: Owner, socket: Socket, name: str, fields: dict[str, Any]) -> Cost:
    """Return the cost of a frame, up to the answer that ends what it has begun."""
    kind = name.removeprefix("frame ")
    ends = {"send": {"ack", "error"}, "sync": {"synced"}, "subscribe": {"presence"}, "read": {"receipt"}}
    ends["delivered"] = {"receipt"}
    socket.frames.clear()
    own = {"id": str(uuid.uuid4())} if kind == "send" else {}
    data = json.dumps({"type": kind, **own, **fields})
    began = await owner.meter.begin()
    await socket.connection.send(data)
    for count in range(1, len(fields.get("user_ids", [0])) + 1):
        while kind in ends and sum(frame["type"] in ends[kind] for frame in socket.frames) < count:
            socket.frames.append(json.loads(await asyncio.wait_for(socket.connection.recv(), 60)))
    await socket.send(type="ping")
    await socket.of_type("pong")
    received = sum(len(json.dumps(frame)) for frame in socket.frames)
    return await owner.meter.end(began, sent=len(data), received=received)


@pytest.fixture(scope="module")
def counted() -> Iterator[PostgresCluster]:
    """A cluster of its own: one that counts statements has to be started so."""
    with PostgresCluster(COUNTING) as cluster:
        yield cluster


@pytest.fixture
async def owner(counted: PostgresCluster) -> AsyncIterator[Owner]:
    dsn = counted.dsn(counted.create_database())
    migrate(dsn)
    with ServerProcess(dsn, "one", CHAT_HEARTBEAT_SECONDS=60) as server:
        server.wait_ready()
        eve = await sign_in(server, "eve")
        spare = [await sign_in(server, phone_number=eve.phone_number) for _ in range(DEVICES_OF_A_USER - 1)]
        meter = await Meter.of(dsn, server.pid)
        await fill_chats(lambda: dsn, eve.user_id, chats=CHATS, messages_each=1)
        await fill_groups(lambda: dsn, eve.user_id, groups=GROUPS, members=MEMBERS)
        async with single_connection(lambda: dsn, "filling") as connection:
            await connection.execute(_OWNED, eve.user_id, LARGE_ROWS, TEXT_MAX_CHARS)
            await connection.execute(_REACTIONS, GROUP)
            await connection.execute(
                "INSERT INTO stars (chat_id, user_id, seq) SELECT 5000000, $1, generate_series(1, $2::int)",
                eve.user_id,
                LARGE_ROWS,
            )
            await connection.execute("UPDATE chat_members SET role = 'admin' WHERE user_id = $1", eve.user_id)
            await connection.execute(_BLOCKS, eve.user_id, BLOCKS_MAX - 1)
            await connection.execute(_INVITE, GROUP, eve.user_id, digest_of(CODE))
            await connection.execute("ANALYZE")
            members = await connection.fetch(
                "SELECT user_id FROM chat_members WHERE chat_id = $1 AND user_id <> $2 ORDER BY user_id LIMIT $3",
                GROUP,
                eve.user_id,
                MAX_SUBSCRIBED_USERS,
            )
        await meter.leave_out()
        made = Owner(server, eve, meter)
        made.spare, made.people = spare, [record[0] for record in members]
        async with eve.http(server) as http:
            made.cursor = (await http.get("/api/messages", params={"since": str(2**33)})).headers["X-Next-Since"]
        yield made
        await meter.connection.close()


# What empties a chat, or ends the session or the account, comes last.
LAST = (
    "POST /api/chats/{chat_id}/clear",
    "PATCH /api/groups/{group_id}",
    "DELETE /api/groups/{group_id}/members/{user_id}",
    "DELETE /api/users/me",
)


async def test_the_most_expensive_request_of_each_kind_is_bounded(owner: Owner) -> None:
    costs: dict[str, Cost] = {}
    spare = owner.spare.pop()
    ordered = sorted(CALLS, key=lambda call: LAST.index(call.route) + 1 if call.route in LAST else 0)
    async with owner.device.socket(owner.process, max_size=None) as socket:
        for name, fields in frames(owner).items():
            measure = functools.partial(cost_of_frame, owner, socket, name, fields)
            # The others cost less the second time: a watermark rises once, and a chat's members are known by then.
            costs[name] = await (least(name, measure) if name in {"frame subscribe", "frame ping"} else measure())
    async with owner.device.http(owner.process) as http, spare.http(owner.process) as other:
        for call in ordered:
            costs[call.route] = await cost_of(owner, other if call.route == "DELETE /api/auth/session" else http, call)
    bounds = {name: BOUNDS.get(name, NOTHING) for name in costs}
    tell(table((name, cost, bounds[name]) for name, cost in costs.items()))
    assert BOUNDS.keys() == costs.keys(), "each call and frame has a bound"
    above = [name for name, cost in costs.items() if not cost.is_within(bounds[name])]
    assert not above
