"""Sizes of a run: how many clients, messages and seconds each part has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """The whole bench; `QUICK` does the same with less.

    Attributes:
        seconds: of each load.
        pairs: senders and as many recipients.
        rates: messages a second, open loop.
        windows: messages each sender keeps on the way in the closed loop; the best counts.
        idle: connections, added up.
        peer_idle: of each peer.
        peer_rates: of XMPP peers.
        synapse_pairs: a room costs Synapse most of a second.
        synapse_idle: each of them syncs first, which costs it tens of milliseconds.
        synapse_rates: what it can do without a queue that grows.
        warm_up_seconds: before a comparison: caches, plans and pools are then as in a server that has run for long.
        storm_seconds: of the steady users' load, within which the others reconnect.
        storm: clients that reconnect at once.
        groups: members.
        first_sync_users: one after the other.
        first_syncs: chats of a user, and messages in each.
        chain: connections to one chatserver through two HAProxy with TLS.
        stored: messages in the database.
        servers: processes, each number with each bus, beside one of the old commit.
        many_servers: the same, only at 1,000/s.
        rounds: in each, all of these are loaded one after the other.
        round_seconds: of each of these loads.
        pgbench_clients: the best counts.
        commits: bare ones, one after the other.
        compiled: whether the modules that are compiled in the image run as there, and not interpreted.
    """

    seconds: float = 20
    pairs: int = 100
    rates: tuple[int, ...] = (500, 1000, 2000, 5000)
    windows: tuple[int, ...] = (1, 4, 16)
    idle: tuple[int, ...] = (1000, 5000, 10_000)
    peer_idle: tuple[int, ...] = (1000, 2000)
    peer_rates: tuple[int, ...] = (500, 1000, 2000)
    synapse_pairs: int = 20
    synapse_idle: tuple[int, ...] = (500,)
    synapse_rates: tuple[int, ...] = (10,)
    warm_up_seconds: float = 2
    storm: int = 5000
    storm_seconds: float = 15
    groups: tuple[int, ...] = (256, 1024)
    first_sync_users: int = 10
    first_syncs: tuple[tuple[int, int], ...] = ((50, 50), (1000, 5))
    chain: int = 10_000
    stored: tuple[int, ...] = (10_000, 1_000_000, 10_000_000)
    servers: tuple[int, ...] = (1, 2, 4)
    many_servers: tuple[int, ...] = (16, 64)
    rounds: int = 3
    round_seconds: float = 4
    pgbench_clients: tuple[int, ...] = (16, 32, 64)
    commits: int = 3000
    compiled: bool = True


QUICK = Sizes(
    seconds=5,
    windows=(4, 16),
    peer_idle=(1000,),
    peer_rates=(500, 1000),
    synapse_pairs=10,
    synapse_idle=(200,),
    first_syncs=((50, 50),),
    stored=(10_000, 1_000_000),
    rounds=2,
    round_seconds=3,
    pgbench_clients=(32, 64),
    commits=1000,
)

SMOKE = Sizes(
    seconds=0.5,
    pairs=4,
    rates=(100,),
    windows=(2,),
    idle=(20,),
    peer_idle=(20,),
    peer_rates=(20,),
    synapse_pairs=2,
    synapse_idle=(20,),
    synapse_rates=(2,),
    warm_up_seconds=0.2,
    storm=20,
    storm_seconds=2,
    groups=(8,),
    first_sync_users=2,
    first_syncs=((3, 2),),
    chain=20,
    stored=(100,),
    servers=(1, 2),
    many_servers=(3,),
    rounds=1,
    round_seconds=0.5,
    pgbench_clients=(2,),
    commits=20,
    compiled=False,
)
"""For tests that only check that the scenarios run; the figures are meaningless."""
