"""Runs the scenarios in order; a part that fails is reported, and the others still run."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import builds, chain, limits, machine, measure, scaling, scenarios
from bench.interpreter import built
from bench.measure import FAILURES
from bench.peers import ejabberd, prosody, synapse
from bench.peers.programs import NotHereError
from bench.ratios import ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from bench.builds import Build
    from bench.machine import Start
    from bench.measure import Row
    from bench.sizes import Sizes
    from bench.subjects import Subject
    from tests.support.postgres import PostgresCluster

PARTS = ("compare", "receipts", "herd", "groups", "rest", "first-sync", "chain", "servers", "stored")
"""The parts of a run; `compare` is A, B and C of our chat, its peers and the physical limit."""

ROOT = Path(__file__).parents[1]


class Plan:
    """One run of the bench.

    Args:
        sizes: how much each part does.
        peers: compare with them.
        only: parts to run.
    """

    def __init__(self, sizes: Sizes, *, peers: bool, only: Sequence[str] = PARTS) -> None:
        self._sizes = sizes
        self._peers = peers
        self._only = only
        self._parts: dict[str, list[Row]] = {}
        self._skipped: dict[str, str] = {}
        self._failed: dict[str, str] = {}

    def run(self, command: str) -> dict[str, Any]:
        """Run it; returns all figures in the form of ``latest.json``."""
        started = time.monotonic()
        sizes = self._sizes
        build = self._build()
        with machine.durable_postgres() as postgres:
            start = functools.partial(machine.chat, postgres, build=build)
            if "compare" in self._only:
                self._compare(postgres, start)
            whole: dict[str, tuple[str, Callable[[], list[Row]]]] = {
                "herd": ("herd", lambda: scenarios.reconnect_storm(start, sizes)),
                "chain": ("chain", lambda: chain.whole_chain(start, sizes)),
                "stored": ("stored", lambda: scenarios.more_messages(start, sizes)),
            }
            alone = {
                "receipts": ("receipts", scenarios.with_receipts),
                "groups": ("groups", scenarios.groups),
                "rest": ("rest", scenarios.rest_sends),
                "first-sync": ("first sync", scenarios.first_sync),
            }
            for part in self._only:
                if part in whole:
                    name, scenario = whole[part]
                    self._part(name, scenario)
            if "servers" in self._only:
                self._servers(build)
            if any(part in alone for part in self._only):
                self._alone(start, [alone[part] for part in self._only if part in alone])
            version = postgres.sql("SHOW server_version")
        return {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _git("rev-parse", "--short", "HEAD"),
            "command": command,
            "minutes": round((time.monotonic() - started) / 60, 1),
            "machine": _machine() | {"PostgreSQL": version, "chatserver": build.name},
            "settings": machine.DURABLE.strip().splitlines(),
            "skipped": self._skipped,
            "failed": self._failed,
            "parts": self._parts,
            "ratios": ratios(self._parts),
        }

    def _build(self) -> Build:
        """Return the chatserver to measure: what the image has, or if it cannot be made here, what the checkout has."""
        if not self._sizes.compiled:
            return builds.HERE
        try:
            return builds.compiled()
        except builds.NotBuiltError as reason:
            self._skipped["the compiled chatserver"] = str(reason)
            return builds.HERE

    def _compare(self, postgres: PostgresCluster, start: Start) -> None:
        sizes = self._sizes
        self._limits(postgres)
        with start() as chat:
            # In a separate server: memory that a load leaves allocated would hide that of connections.
            self._part("memory", lambda: measure.idle_memory(chat, sizes.idle))
        with start() as chat:
            self._load(chat, sizes.pairs, sizes.windows, sizes.rates, half=True)
        if not self._peers:
            self._skipped["the peers"] = "not selected"
            return
        self._peer(postgres, "ejabberd", ejabberd.running, sizes.pairs, sizes.peer_idle, sizes.peer_rates)
        self._peer(postgres, "Prosody", prosody.running, sizes.pairs, sizes.peer_idle, sizes.peer_rates)
        self._peer(postgres, "Synapse", synapse.running, sizes.synapse_pairs, sizes.synapse_idle, sizes.synapse_rates)
        # Before and after: the best one counts, so that other work on the machine makes no ratio look better.
        self._limits(postgres)

    def _limits(self, postgres: PostgresCluster) -> None:
        sizes = self._sizes
        database = limits.Target(postgres, postgres.create_database())
        self._part("inserts", lambda: limits.inserts(database, sizes.seconds, sizes.pgbench_clients))
        self._part("commits", lambda: limits.bare_commits(database, sizes.commits))

    def _peer(
        self,
        postgres: PostgresCluster,
        name: str,
        running: Callable[[PostgresCluster], AbstractContextManager[Subject]],
        pairs: int,
        idle: Sequence[int],
        rates: Sequence[float],
    ) -> None:
        try:
            with running(postgres) as peer:
                self._part("memory", lambda: measure.idle_memory(peer, idle))
                self._load(peer, pairs, (1, 4), rates, half=False)
        except NotHereError as reason:
            self._skipped[name] = str(reason)
        except FAILURES as error:
            self._fail(name, error)

    def _load(
        self, subject: Subject, pairs: int, windows: Sequence[int], rates: Sequence[float], *, half: bool
    ) -> None:
        """C, then B at the rates that C reaches; of our chat also at half of C."""
        users = subject.pairs(pairs)
        seconds = self._sizes.seconds

        def most() -> list[Row]:
            measure.warm_up(subject, users, self._sizes.warm_up_seconds)
            return measure.at_most(subject, users, windows, seconds)

        best = max((row["messages/s"] for row in self._part("most", most)), default=0)
        reached = [rate for rate in rates if rate <= best]
        for rate in set(rates) - set(reached):
            self._skipped[f"{subject.name} at {rate:g}/s"] = f"its most is {best}/s"
        self._part("latency", lambda: measure.at_rates(subject, users, reached, seconds))
        if half and best:

            def at_half() -> list[Row]:
                return [{**row, "half": True} for row in measure.at_rates(subject, users, [best / 2], seconds)]

            self._part("latency", at_half)

    def _alone(self, start: Start, parts: Sequence[tuple[str, Callable[[machine.Chat, Sizes], list[Row]]]]) -> None:
        with start() as chat:
            for name, scenario in parts:
                self._part(name, functools.partial(scenario, chat, self._sizes))

    def _servers(self, build: Build) -> None:
        found = scaling.more_servers(build, self._sizes)
        self._skipped |= found.skipped
        self._failed |= found.failed
        for name, rows in found.parts.items():
            self._part(name, functools.partial(list, rows))

    def _part(self, name: str, scenario: Callable[[], list[Row]]) -> list[Row]:
        started = time.monotonic()
        try:
            rows = scenario()
        except FAILURES as error:
            self._fail(name, error)
            return []
        print(f"==> {name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        for row in rows:
            print(f"    {row}", file=sys.stderr)
        self._parts.setdefault(name, []).extend(rows)
        return rows

    def _fail(self, name: str, error: BaseException) -> None:
        self._failed[name] = f"{type(error).__name__}: {error}"
        print(f"==> {name} FAILED: {error}", file=sys.stderr)


def _machine() -> dict[str, Any]:
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory_kib = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    load = Path("/proc/loadavg").read_text().split()[0]
    return {
        "processors": f"{len(names)} x {names[0]}" if names else platform.processor(),
        "memory": f"{memory_kib / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "Python": f"{platform.python_version()}, {built()}",
        "load average at the end": load,
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
