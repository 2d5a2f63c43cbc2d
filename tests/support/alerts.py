"""What a test on a monitored cluster expects to be sent."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest_asyncio

from monitoring.rules import GROUPS
from monitoring.rules.inhibition import INHIBITIONS, inhibit_rules
from monitoring.rules.rendering import dump, spec
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.monitored import Monitored, monitored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.cluster import Cluster

SCALE = 60
"""Durations in rules are divided by it."""

SLOWER_GROUPS = {"chatcluster-operator", "chatcluster-servers"}
"""Rules that wait for what is no faster than ever: sweeps of the operator, and kubelet's pauses between restarts."""

SLOWER_SCALE = 10

QUIET_SECONDS = 300

TIMED = {"sends_quick", "delivery", "end_to_end"}
"""Objectives that are missed on a machine that does other work beside."""


def fast_rules() -> dict[str, str]:
    """The chart's rules, whose time runs faster, as rule files by name."""
    slower = [group for group in GROUPS if group.name in SLOWER_GROUPS]
    others = [group for group in GROUPS if group not in slower]
    return {
        "fast.yaml": dump(spec(scale=SCALE, groups=others)),
        "slower.yaml": dump(spec(scale=SLOWER_SCALE, groups=slower)),
    }


async def quiet(watched: Monitored) -> None:
    """Wait until no alert fires but those of `TIMED`, and forget what earlier tests have made fire."""

    def firing() -> list[dict[str, str]]:
        return [dict(labels) for labels in watched.prometheus.firing() if dict(labels).get("slo") not in TIMED]

    async def none() -> bool:
        return not firing()

    await until(none, "no alert fires", QUIET_SECONDS, otherwise=lambda: "\n".join(map(str, firing())))
    watched.receiver.forget()


@contextlib.asynccontextmanager
async def only_pages(watched: Monitored, cause: str | None = None) -> AsyncIterator[None]:
    """Expect one page, for a cause, and none besides; without a cause, none at all.

    Rules whose time runs faster meet an operator and a kubelet whose time does not: a consequence that Alertmanager
    mutes while its cause fires can outlast it by the seconds in which Ready becomes True again. So these may page too,
    and so may the budgets of what has to happen within milliseconds.

    Raises:
        AssertionError: Something else paged.
    """
    yield
    paged = watched.receiver.fired("page", lambda notice: notice.labels.get("slo") not in TIMED)
    known = {cause} | {name for one in INHIBITIONS if one.cause == cause for name in one.consequences}
    tell(f"sent: {', '.join(sorted(watched.receiver.fired())) or 'nothing'}")
    assert paged <= known, f"{sorted(paged - known)} paged too"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def watched(made: Cluster) -> AsyncIterator[Monitored]:
    """The cluster under the chart's rules, whose time runs faster."""
    async with monitored(made, fast_rules(), inhibit_rules()) as watching:
        yield watching
