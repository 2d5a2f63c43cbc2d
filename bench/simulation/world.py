"""A chat of any size for a moment: who writes with whom into which batch, and which servers have to hear of it.

Pure and seeded: the same world and seed give the same figures.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from bench.simulation.costs import Costs, batch_cpu, interpolated, wal_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MESSAGES = 60_000
"""Messages of a simulation: half a second at least of small worlds, a tenth of the largest."""

SHARDS = 1024


@dataclass(frozen=True)
class World:
    """A chat under a steady load, and what is assumed of its users.

    Attributes:
        servers: that hold the connections.
        databases: that the shards are spread over.
        bus: how servers hear of rows that concern their users.
        has_writers: servers send a message to the one writer of its database; else each writes itself.
        pace_milliseconds: from the start of a batch to that of the next one of the same writer, at least.
        connections: of a server.
        connected: share of users who are connected, each to one server.
        groups: share of messages that go to a group.
        members: of a group.
    """

    name: str
    servers: int
    databases: int
    messages_per_second: float
    bus: Literal["NOTIFY", "Valkey"]
    has_writers: bool = False
    pace_milliseconds: float = 0
    connections: int = 10_000
    connected: float = 0.25
    groups: float = 0.1
    members: int = 16


class Message(NamedTuple):
    """One message on its way.

    Attributes:
        at: second at which it arrives.
        sender: server of the sender.
        targets: servers of connected recipients.
    """

    at: float
    sender: int
    targets: frozenset[int]


@dataclass(frozen=True)
class Outcome:
    """What a world costs; cores are CPU seconds a second.

    Attributes:
        rows: of a batch, on average.
        batches_per_second: of the busiest database.
        hints: to other servers for each message, on average.
        database_cpu: microseconds for each message.
        bus_cores: of the bus and of those who receive from it.
        busiest_database: its cores.
        wal_megabytes: a second, of all databases.
    """

    rows: float
    batches_per_second: float
    hints: float
    database_cpu: float
    database_cores: float
    busiest_database: float
    server_cores: float
    bus_cores: float
    proxy_cores: float
    wal_megabytes: float


def simulate(world: World, costs: Costs, seed: int = 1) -> Outcome:
    """Run MESSAGES messages through a world."""
    chance = random.Random(seed)  # noqa: S311 - a simulation, no secret
    seconds = MESSAGES / world.messages_per_second
    lanes: dict[tuple[int, int], list[Message]] = defaultdict(list)
    for at in sorted(chance.uniform(0, seconds) for _ in range(MESSAGES)):
        message = _message(world, chance, at)
        database = chance.randrange(SHARDS) % world.databases
        lanes[database, 0 if world.has_writers else message.sender].append(message)

    batches = hints = 0
    cpu: dict[int, float] = defaultdict(float)
    per_database: dict[int, int] = defaultdict(int)
    for (database, writer), arrivals in lanes.items():
        for batch in _batches(arrivals, world, costs):
            batches += 1
            per_database[database] += 1
            cpu[database] += batch_cpu(costs, len(batch)) / 1e6
            hints += len(_notified(world, batch, writer))
    # What a writer is sent comes by the same bus.
    forwarded = MESSAGES if world.has_writers else 0
    if world.bus == "NOTIFY":
        bus_cpu = batches * interpolated(costs.notify_cpu, world.servers) if world.servers > 1 else 0
    else:
        bus_cpu = (hints + forwarded) * (costs.publish_cpu + costs.receive_cpu)
    server_cpu = interpolated(costs.server_cpu, world.messages_per_second / world.servers)
    return Outcome(
        rows=MESSAGES / batches,
        batches_per_second=max(per_database.values()) / seconds,
        hints=(hints + forwarded) / MESSAGES,
        database_cpu=sum(cpu.values()) / MESSAGES * 1e6,
        database_cores=sum(cpu.values()) / seconds,
        busiest_database=max(cpu.values()) / seconds,
        server_cores=world.messages_per_second * server_cpu / 1e6,
        bus_cores=bus_cpu / 1e6 / seconds,
        proxy_cores=world.messages_per_second * costs.proxy_cpu / 1e6,
        wal_megabytes=world.messages_per_second * wal_bytes(costs, MESSAGES / batches) / 1e6,
    )


def _message(world: World, chance: random.Random, at: float) -> Message:
    sender = chance.randrange(world.servers)
    recipients = world.members - 1 if chance.random() < world.groups else 1
    connected = sum(chance.random() < world.connected for _ in range(recipients))
    return Message(at, sender, frozenset(chance.randrange(world.servers) for _ in range(connected)))


def _batches(arrivals: Sequence[Message], world: World, costs: Costs) -> Iterator[Sequence[Message]]:
    """Group commit of one writer: a batch takes what came while the one before was stored."""
    done, free_at = 0, 0.0
    while done < len(arrivals):
        start = max(free_at, arrivals[done].at)
        end = done + 1
        while end < len(arrivals) and end - done < costs.batch_rows_most and arrivals[end].at <= start:
            end += 1
        yield arrivals[done:end]
        stored = costs.commit_milliseconds / 1e3 + batch_cpu(costs, end - done) / 1e6
        free_at = start + max(stored, world.pace_milliseconds / 1e3)
        done = end


def _notified(world: World, batch: Sequence[Message], writer: int) -> set[int]:
    """Return the servers that get a hint of a batch: one each, however many of its rows concern them."""
    targets = {target for message in batch for target in message.targets}
    # A writer answers the senders' servers too; a server that writes itself needs no hint.
    return targets | {message.sender for message in batch} if world.has_writers else targets - {writer}
