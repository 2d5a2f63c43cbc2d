"""Drains of chatservers: their duration, and the connections that their end closes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from chatoperator.observed import Reading
from chatoperator.reconcile.drains import SERVERS_MAX, Drain, follow, read
from chatoperator.reconcile.state import State
from tests.support.chatclusters import FakeProber, pod

if TYPE_CHECKING:
    from chatoperator.probes.prober import Prober

STAYS = pod("stays", "chatserver", address="192.0.2.7")
LEAVES = replace(STAYS, name="leaves", terminating=True)


def test_a_drain_lasts_from_the_deletion_of_the_pod_to_its_end() -> None:
    drains, ended = follow({}, [STAYS, LEAVES], 10)
    assert drains == {"leaves": Drain("192.0.2.7", 10)}
    drains, ended = follow(drains, [STAYS, LEAVES], 25)
    assert (drains["leaves"].began, ended) == (10, [])
    assert follow(drains, [STAYS], 40) == ({}, [30])


def test_the_duration_of_a_drain_that_began_before_the_operator_is_not_known() -> None:
    drains, _ = follow(None, [LEAVES], 10)
    assert drains["leaves"].began is None, "its connections are counted all the same"
    assert follow(drains, [], 40) == ({}, [])


def test_a_server_that_never_served_or_is_on_a_lost_node_does_not_drain() -> None:
    assert follow({}, [replace(LEAVES, started=False)], 10) == ({}, [])
    held = {"leaves": Drain("192.0.2.7", 10)}
    assert follow(held, [replace(LEAVES, lost=True)], 50) == ({}, []), "when it ended is not known"


async def test_each_forced_close_is_counted_once_however_often_the_server_is_read() -> None:
    state, prober = State(drains={"leaves": Drain("192.0.2.7", 10)}), FakeProber()
    for count in (0, 3, 3, 7):
        prober.connections = {"leaves": Reading(9, draining=True, forced_closes=count)}
        await read(cast("Prober", prober), [state, State()])
    prober.connections = {}
    await read(cast("Prober", prober), [state])
    assert state.series.forced_closes == 7


async def test_so_many_servers_are_read_at_most() -> None:
    state, prober = State(drains={f"s{number}": Drain("192.0.2.7", 1) for number in range(1000)}), FakeProber()
    prober.connections = {name: Reading(1, draining=True, forced_closes=1) for name in state.drains or {}}
    await read(cast("Prober", prober), [state])
    assert state.series.forced_closes == SERVERS_MAX
