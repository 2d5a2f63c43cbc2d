"""Several operators that serve one ChatCluster: one leads, the others stand by. Pure.

The leader's name is in status. Another operator that finds it there puts a challenge beside it; a leader that lives
answers it at its next reconcile, and the other stands by. One that does not answer is gone, and is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ANSWER_SECONDS = 60
"""Four sweeps: a leader that lives answers within one."""

CHALLENGE_SECONDS = 300
"""Between two challenges of a leader that answers."""

GONE_SECONDS = 900
"""A contender that has not challenged for so long has gone."""


@dataclass(frozen=True)
class Standing:
    """What one operator remembers of the others; times are seconds of a monotonic clock.

    Attributes:
        challenge: Its own challenge; None before the first.
        at: When it put that, or first saw the other's.
        seen: The other's challenge that it saw last.
    """

    challenge: str | None = None
    at: float = 0.0
    seen: str | None = None


@dataclass(frozen=True)
class Stand:
    """What to do.

    Attributes:
        leads: Whether to reconcile.
        patch: What to merge into status first; empty for nothing.
        rival: The other operator, for admins; None where there is none.
        standing: To remember.
    """

    leads: bool
    patch: Mapping[str, Any]
    rival: str | None
    standing: Standing


def stand(
    status: Mapping[str, Any],
    me: str,
    version: str,
    standing: Standing,
    now: float,
    new_challenge: Callable[[], str],
) -> Stand:
    """Decide who leads.

    Args:
        status: Of the ChatCluster.
        me: This operator's name: namespace/name of its Lease, the same for all its pods.
        version: Its release.
        standing: What it remembers.
        now: Seconds of a monotonic clock.
        new_challenge: Makes one.
    """
    leader, contender = status.get("operator") or {}, status.get("contender") or {}
    if leader.get("name") in (None, me):
        return _lead(leader, contender, me, version, standing, now)
    rival = _words(leader)
    mine = {"contender": {"name": me, "version": version}}
    if standing.challenge is None or contender.get("challenge") != standing.challenge:
        # None yet, or another operator's in its place.
        if leader.get("answered") != standing.challenge or standing.challenge is None:
            return _challenge(mine, rival, now, new_challenge)
    elif leader.get("answered") != standing.challenge and now - standing.at >= ANSWER_SECONDS:
        taken = {"operator": {"name": me, "version": version, "answered": None}, "contender": None}
        return Stand(leads=True, patch=taken, rival=None, standing=Standing())
    if leader.get("answered") == standing.challenge and now - standing.at >= CHALLENGE_SECONDS:
        return _challenge(mine, rival, now, new_challenge)
    return Stand(leads=False, patch={}, rival=rival, standing=standing)


def _challenge(mine: dict[str, dict[str, str]], rival: str, now: float, new_challenge: Callable[[], str]) -> Stand:
    challenge = new_challenge()
    patch = {"contender": {**mine["contender"], "challenge": challenge}}
    return Stand(leads=False, patch=patch, rival=rival, standing=Standing(challenge, now))


def _lead(
    leader: Mapping[str, Any],
    contender: Mapping[str, Any],
    me: str,
    version: str,
    standing: Standing,
    now: float,
) -> Stand:
    own = {"name": me, "version": version}
    patch: dict[str, Any] = {}
    if any(leader.get(name) != value for name, value in own.items()):
        patch["operator"] = own
    if not contender or contender.get("name") == me:
        if contender:
            patch["contender"] = None
        return Stand(leads=True, patch=patch, rival=None, standing=Standing())
    challenge = str(contender.get("challenge"))
    if standing.seen != challenge:
        standing = Standing(at=now, seen=challenge)
    if now - standing.at >= GONE_SECONDS:
        return Stand(leads=True, patch={**patch, "contender": None}, rival=None, standing=Standing())
    if leader.get("answered") != challenge:
        patch["operator"] = {**own, "answered": challenge}
    return Stand(leads=True, patch=patch, rival=_words(contender), standing=standing)


def _words(other: Mapping[str, Any]) -> str:
    return f"{other.get('name')} (release {other.get('version')})"
