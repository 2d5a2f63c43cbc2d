"""The order in which members of a replicated database change: who gets the new template, who leads, who goes. Pure.

Replicas first, one at a time and each back before the next; then another member leads; then the old leader. A member is
replaced only while all others are ready, so that never two are unavailable because of a change. One that is not ready
is replaced at once: it may be the cure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


@dataclass(frozen=True)
class Member:
    """One instance, as it is observed.

    Attributes:
        instance: Its number, from 1.
        leads: It has Patroni's leader lock, as far as is known.
        ready: It takes writes as the leader, or streams from it, and is not being replaced.
        updated: Its StatefulSet has the desired template.
        refused: PostgreSQL did not start with the new parameters and runs with the old ones.
        synchronous: Each acknowledged commit is on it or on one of its like; None where that is not known.
        lag_bytes: WAL that it lacks; None where that is not known.
    """

    instance: int
    leads: bool = False
    ready: bool = False
    updated: bool = False
    refused: bool = False
    synchronous: bool | None = None
    lag_bytes: int | None = None


@dataclass(frozen=True)
class InstanceChange:
    """What may happen now.

    Attributes:
        replace: Instances that get the desired template, which replaces their pods.
        switch_to: The instance that should lead; None where the present leader may stay.
        remove: The instance whose StatefulSet is deleted; None where none is.
        waits_for: Instances that have to be ready before anything else happens; empty where nothing waits.
    """

    replace: frozenset[int] = frozenset()
    switch_to: int | None = None
    remove: int | None = None
    waits_for: tuple[int, ...] = ()


NOTHING = InstanceChange()


ANY = 0
"""In place of the number of an instance: whichever is best."""


def decide(members: Sequence[Member], *, count: int, switch_to: int | None = None) -> InstanceChange:
    """Decide it.

    Args:
        members: Instances that have a StatefulSet.
        count: Instances that the spec requires; those with higher numbers leave.
        switch_to: The instance that an admin has requested as leader; ANY for another than now; None without a request.
    """
    cures = frozenset(
        one.instance for one in members if not one.ready and not one.updated and _may_restart(one, members)
    )
    if cures:
        return InstanceChange(replace=cures)
    leader = _leader(members)
    if leader is None:
        return InstanceChange(waits_for=_missing(members))
    leaving = [one for one in members if one.instance > count]
    if leaving:
        return _leave(members, leaving, leader, count)
    if not all(one.updated for one in members):
        return _update(members, leader)
    return _switch(members, leader, switch_to)


def _leader(members: Collection[Member]) -> Member | None:
    return next((one for one in members if one.leads and one.ready), None)


def _may_restart(member: Member, members: Collection[Member]) -> bool:
    """Whether a member that is not ready may be replaced.

    One that has the lock may still serve: only an agent beside it may be missing. While somebody could take over, it is
    not replaced before that has happened.
    """
    return not member.leads or not any(one.ready for one in members if one is not member)


def _leave(members: Collection[Member], leaving: Sequence[Member], leader: Member, count: int) -> InstanceChange:
    """One after the other, the highest number first, once a member that stays leads and all that stay are ready."""
    staying = [one for one in members if one.instance <= count]
    waits = _missing(staying)
    if leader.instance > count:
        best = _candidate(one for one in staying if one.ready)
        return InstanceChange(switch_to=best.instance) if best is not None else InstanceChange(waits_for=waits)
    return InstanceChange(waits_for=waits) if waits else InstanceChange(remove=max(one.instance for one in leaving))


def _update(members: Sequence[Member], leader: Member) -> InstanceChange:
    waits = _missing(members) or tuple(one.instance for one in members if one.updated and one.refused)
    if waits:
        return InstanceChange(waits_for=waits)
    replicas = [one for one in members if not one.updated and not one.leads]
    if replicas:
        # The one that would lead next goes last.
        return InstanceChange(replace=frozenset({max(replicas, key=_rank).instance}))
    best = _candidate(one for one in members if not one.leads)
    # Alone it has nobody to hand over to.
    return (
        InstanceChange(switch_to=best.instance)
        if best is not None
        else InstanceChange(replace=frozenset({leader.instance}))
    )


def _switch(members: Sequence[Member], leader: Member, switch_to: int | None) -> InstanceChange:
    """What an admin has requested, as far as it works now."""
    able = [one for one in members if one.ready and not one.leads and switch_to in (ANY, one.instance)]
    best = _candidate(able)
    if switch_to in (None, leader.instance) or best is None:
        return NOTHING
    return InstanceChange(switch_to=best.instance)


def _missing(members: Collection[Member]) -> tuple[int, ...]:
    return tuple(one.instance for one in members if not one.ready)


def _candidate(members: Iterable[Member]) -> Member | None:
    """The one that should lead next; None where there is none."""
    return min(members, key=_rank, default=None)


def _rank(member: Member) -> tuple[bool, float, int]:
    """Lower is better: synchronous, little to replay, a low number."""
    lag = member.lag_bytes if member.lag_bytes is not None else math.inf
    return not member.synchronous, lag, member.instance
