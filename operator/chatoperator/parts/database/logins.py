"""The roles that chatservers log in to the database as, and how their passwords are rotated. Pure.

All objects belong to one owner; two roles that act as the owner are logged in as in turn. A rotation gives the idle one
a new password, waits until PostgreSQL has it, names it in the DSN, waits until every chatserver has read that, and then
takes its password from the other one. So at each moment every password that somebody may try is good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from chatoperator.metadata import GROUP, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OWNER = "chat"
"""Of the database and all in it. Volumes from before there were two roles have it as the one that is logged in as."""

ROLES = ("chat_a", "chat_b")

REPLICATION_ROLE, PATRONI_USER = "chat_replication", "patroni"
"""Where there are several instances: the role that replicas stream as, and the user of Patroni's REST. Their passwords
are never rotated."""

PASSWORD_PREFIX = "password."  # noqa: S105 - a key of the Secret, such as password.chat_a

HOLDERS = (OWNER, *ROLES, REPLICATION_ROLE, PATRONI_USER)
"""Of a password, each."""

REQUEST_ANNOTATION = f"{GROUP}/rotate-credentials"
"""On the ChatCluster: each new value is one rotation. On the Secret: the last value that was followed."""

STAGE_ANNOTATION = f"{GROUP}/rotation-stage"
SINCE_ANNOTATION = f"{GROUP}/rotation-since"
"""On the Secret: how far a rotation is, and since when, in Unix seconds."""

FOLLOW_SECONDS = 600
"""Longest wait until every chatserver says that it has read the new DSN. kubelet brings it within seconds, at worst
within two minutes; one that does not answer for so long must not keep an old password good for ever."""

Stage = Literal["settled", "preparing", "following"]


@dataclass(frozen=True)
class Logins:
    """The roles and their passwords.

    Attributes:
        active: The role that the DSN names.
        passwords: By role; the owner among them as long as it may still be logged in as.
        stage: `preparing` until PostgreSQL has the idle role's new password, `following` until all chatservers use it.
        since: When the stage began, in Unix seconds.
        request: The last request that was followed; None where there was none.
    """

    active: str
    passwords: Mapping[str, str]
    stage: Stage = "settled"
    since: int = 0
    request: str | None = None

    def __repr__(self) -> str:
        """Show no password: this never reaches logs."""
        return f"Logins(active={self.active!r}, stage={self.stage!r})"

    @property
    def password(self) -> str:
        """The active role's."""
        return self.passwords[self.active]

    @property
    def idle(self) -> str:
        """The role that a rotation makes active next, or has made idle."""
        return ROLES[1] if self.active == ROLES[0] else ROLES[0]

    def revision(self, salt: str) -> str:
        """Changes with any password. It is not protected: a secret salt prevents that it helps to guess one."""
        return digest(["database-logins", salt, dict(self.passwords)])


@dataclass(frozen=True)
class Signs:
    """What a rotation waits for.

    Attributes:
        applied: The revision that PostgreSQL has, as its agent says; None where it does not answer.
        followed: The role in the DSN that each chatserver has read; None for one that did not say.
    """

    applied: str | None = None
    followed: tuple[str | None, ...] = ()


def read(texts: Callable[[str], str | None], annotations: Mapping[str, str]) -> Logins | None:
    """The logins that a Secret holds; None where it holds none that can be used.

    Args:
        texts: A key's text, or None.
        annotations: Of the Secret.
    """
    passwords = {role: password for role in HOLDERS if (password := texts(PASSWORD_PREFIX + role))}
    username, password = texts("username"), texts("password")
    if not any(role in passwords for role in ROLES):
        # From before there were two.
        return Logins(OWNER, {OWNER: password}) if username == OWNER and password else None
    active = username if username in passwords else next(role for role in ROLES if role in passwords)
    stage, since = annotations.get(STAGE_ANNOTATION), annotations.get(SINCE_ANNOTATION, "")
    return Logins(
        active=active or ROLES[0],
        passwords=passwords,
        stage="preparing" if stage == "preparing" else "following" if stage == "following" else "settled",
        since=int(since) if since.isdecimal() else 0,
        request=annotations.get(REQUEST_ANNOTATION),
    )


def advance(
    held: Logins | None,
    *,
    request: str | None,
    signs: Signs,
    salt: str,
    now: int,
    new_password: Callable[[], str],
) -> Logins:
    """The logins to have now: at most one step of a rotation further than those that are held.

    Example: chat_a is active, and somebody requests a rotation -> chat_b gets a password (`preparing`); PostgreSQL has
    it -> chat_b is active (`following`); all chatservers name chat_b -> chat_a gets a password (`settled`).

    Args:
        held: What the Secret holds.
        request: The value of the annotation of the ChatCluster; None requests nothing.
        signs: What has been seen.
        salt: Of the revision.
        now: Unix seconds.
        new_password: Makes one.
    """
    if held is None:
        return Logins(ROLES[0], {role: new_password() for role in ROLES}, request=request)
    if held.active == OWNER and held.stage == "settled":
        # The first rotation of an old volume, which nobody had to request.
        whole = {**held.passwords, **{role: new_password() for role in ROLES}}
        return Logins(OWNER, whole, "preparing", now, request)
    missing = [role for role in ROLES if role not in held.passwords]
    if missing:
        return replace(held, passwords={**held.passwords, **{role: new_password() for role in missing}})
    return _step(held, request, signs, salt=salt, now=now, new_password=new_password)


def with_replication(held: Logins, new_password: Callable[[], str]) -> Logins:
    """The same with what members of a replicated database authenticate with; what they have stays."""
    missing = [holder for holder in (REPLICATION_ROLE, PATRONI_USER) if holder not in held.passwords]
    if not missing:
        return held
    return replace(held, passwords={**held.passwords, **{holder: new_password() for holder in missing}})


def _step(
    held: Logins, request: str | None, signs: Signs, *, salt: str, now: int, new_password: Callable[[], str]
) -> Logins:
    if held.stage == "settled" and request not in (None, held.request):
        return replace(_renewed(held, new_password), stage="preparing", since=now, request=request)
    if held.stage == "preparing" and signs.applied == held.revision(salt):
        return replace(held, active=held.idle, stage="following", since=now)
    followed = all(role == held.active for role in signs.followed) or now - held.since > FOLLOW_SECONDS
    return _finished(held, now, new_password) if held.stage == "following" and followed else held


def _finished(held: Logins, now: int, new_password: Callable[[], str]) -> Logins:
    """Nobody uses the other role's password any more."""
    if OWNER not in held.passwords:
        return replace(_renewed(held, new_password), stage="settled", since=now)
    # Of an old volume's new roles only the active one has a known password yet.
    kept = {role: password for role, password in held.passwords.items() if role != OWNER}
    return replace(held, passwords=kept, stage="settled", since=now)


def _renewed(held: Logins, new_password: Callable[[], str]) -> Logins:
    return replace(held, passwords={**held.passwords, held.idle: new_password()})
