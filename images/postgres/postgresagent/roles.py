"""Decides which statements create or change roles and database as the Secret requires. Pure.

All objects belong to one owner, which is not used to log in. Two roles that act as the owner are used alternately,
so that one password can change while the other is in use. Earlier releases logged in as the owner; this still works
while the Secret has a password for it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postgresagent import verifiers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PASSWORD_PREFIX = "password."  # noqa: S105 - a key of the Secret: password.chat_a
REPLICATION, REST = OF_INSTANCES = ("chat_replication", "patroni")
"""Names in keys of passwords that are no logins of the chat: with them several instances reach each other."""

OWNER_KEY, DATABASE_KEY, REVISION_KEY = "owner", "database", "revision"

QUERY = """
SELECT json_build_object(
    'roles', (SELECT json_object_agg(rolname, json_build_object('login', rolcanlogin, 'verifier', rolpassword,
                  'replication', rolreplication, 'settings', coalesce(setconfig, '{}')))
              FROM pg_authid LEFT JOIN pg_db_role_setting ON setrole = pg_authid.oid AND setdatabase = 0),
    'memberships', (SELECT json_agg(json_build_array(member::regrole::text, roleid::regrole::text))
                    FROM pg_auth_members),
    'databases', (SELECT json_agg(datname) FROM pg_database),
    'monitored', (SELECT json_agg(datname) FROM pg_database, aclexplode(datacl)
                  WHERE privilege_type = 'CONNECT' AND grantee = to_regrole('chat_monitor')),
    'rewinds', (SELECT count(*) = 4 FROM pg_proc, aclexplode(proacl)
                WHERE grantee = to_regrole('chat_replication') AND pronamespace = 'pg_catalog'::regnamespace),
    'recovery', pg_is_in_recovery())
"""
"""The query whose answer `found` reads."""


class SecretIncomplete(Exception):
    """The mounted Secret lacks a key; names it."""


@dataclass(frozen=True)
class Desired:
    """The roles and the database that the Secret requires.

    Attributes:
        owner: The role that owns the database and all objects in it.
        database: Its name.
        passwords: Passwords by role, of the roles that may log in; the owner may be among them.
        revision: The operator's revision of this state, which the status repeats.
        replication: Password of the role with which instances replicate; None where there is one instance.
    """

    owner: str
    database: str
    passwords: Mapping[str, str]
    revision: str
    replication: str | None = None

    def __repr__(self) -> str:
        """Show no password: this may reach a log."""
        return f"Desired(revision={self.revision!r})"


@dataclass(frozen=True)
class Found:
    """The observed state of PostgreSQL.

    Attributes:
        roles: As QUERY returns them.
        memberships: Pairs of a member and its role.
        databases: Their names.
        monitored: Databases to which the role of `postgresagent.monitor` may connect.
        rewinds: Whether the role of `postgresagent.replication` may call what pg_rewind calls.
        is_replica: Whether nothing can be written here.
    """

    roles: Mapping[str, Mapping[str, Any]]
    memberships: frozenset[tuple[str, str]]
    databases: frozenset[str]
    monitored: frozenset[str] = frozenset()
    rewinds: bool = False
    is_replica: bool = False


def desired(folder: Path) -> Desired:
    """Read the mounted Secret.

    Raises:
        SecretIncomplete: A key is missing or empty.
    """

    def value(key: str) -> str:
        return _value(folder, key)

    found = [path.name.removeprefix(PASSWORD_PREFIX) for path in sorted(folder.glob(f"{PASSWORD_PREFIX}*"))]
    names = [name for name in found if name not in OF_INSTANCES]
    if not names:
        # A Secret with one role, written by hand.
        return Desired(value("username"), value(DATABASE_KEY), {value("username"): value("password")}, "")
    passwords = {name: value(PASSWORD_PREFIX + name) for name in names}
    replication = value(PASSWORD_PREFIX + REPLICATION) if REPLICATION in found else None
    return Desired(value(OWNER_KEY), value(DATABASE_KEY), passwords, value(REVISION_KEY), replication)


def passwords_of_instances(folder: Path) -> dict[str, str]:
    """Read from the mounted Secret the passwords with which several instances reach each other, by OF_INSTANCES.

    Raises:
        SecretIncomplete: One is missing or empty.
    """
    return {name: _value(folder, PASSWORD_PREFIX + name) for name in OF_INSTANCES}


def _value(folder: Path, key: str) -> str:
    path = folder / key
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not text:
        raise SecretIncomplete(f"{path} is missing or empty: mount the database Secret there")
    return text


def found(answer: Mapping[str, Any]) -> Found:
    """Return the state in the answer to QUERY."""
    return Found(
        roles=answer["roles"],
        memberships=frozenset((member.strip('"'), role.strip('"')) for member, role in answer["memberships"] or ()),
        databases=frozenset(answer["databases"]),
        monitored=frozenset(answer["monitored"] or ()),
        rewinds=answer["rewinds"],
        is_replica=answer["recovery"],
    )


def statements(want: Desired, have: Found) -> list[str]:
    """Return the statements to run, in order; none if the observed state is the desired one."""
    made = [*_owner(want, have)]
    for name, password in want.passwords.items():
        if name != want.owner:
            made += _login(name, password, want.owner, have)
    if want.database not in have.databases:
        database, owner = _name(want.database), _name(want.owner)
        made += [f"CREATE DATABASE {database} OWNER {owner}", f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"]
    return made


def _owner(want: Desired, have: Found) -> list[str]:
    owner, password, live = _name(want.owner), want.passwords.get(want.owner), have.roles.get(want.owner)
    made = [] if live else [f"CREATE ROLE {owner} NOLOGIN"]
    if password is None:
        if live and (live["login"] or live["verifier"]):
            made.append(f"ALTER ROLE {owner} NOLOGIN PASSWORD NULL")
    elif not (live and live["login"] and verifiers.matches(live["verifier"], password)):
        made.append(f"ALTER ROLE {owner} LOGIN PASSWORD {_verifier(password)}")
    return made


def _login(name: str, password: str, owner: str, have: Found) -> list[str]:
    role, live = _name(name), have.roles.get(name)
    made = [] if live else [f"CREATE ROLE {role} LOGIN"]
    if (name, owner) not in have.memberships:
        made.append(f"GRANT {_name(owner)} TO {role}")
    # A session acts as the owner from its first statement on, so that its objects belong to the owner.
    if f"role={owner}" not in (live or {}).get("settings", ()):
        made.append(f"ALTER ROLE {role} SET role = {_text(owner)}")
    # The password last: a role that can log in has everything else.
    if not (live and live["login"] and verifiers.matches(live["verifier"], password)):
        made.append(f"ALTER ROLE {role} LOGIN PASSWORD {_verifier(password)}")
    return made


def _verifier(password: str) -> str:
    return _text(verifiers.make(password, secrets.token_bytes(verifiers.SALT_BYTES)))


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
