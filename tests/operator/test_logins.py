"""The rotation of the database's passwords, as a machine whose every step is checked against who may use what."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatoperator.kube.objects import secret_text
from chatoperator.parts.credentials import Credentials, database_secret
from chatoperator.parts.database.logins import FOLLOW_SECONDS, OWNER, REQUEST_ANNOTATION, Logins, Signs, advance, read
from tests.support.chatclusters import cluster

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "the chatservers' key"


NOTHING = Signs()


def numbered() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"new-{next(numbers)}"


def step(held: Logins | None, request: str | None = None, signs: Signs = NOTHING, now: int = 0) -> Logins:
    return advance(held, request=request, signs=signs, salt=KEY, now=now, new_password=numbered())


SETTLED = Logins("chat_a", {"chat_a": "a", "chat_b": "b"}, request="1")


def test_a_new_chat_has_two_roles_and_nothing_to_rotate() -> None:
    made = step(None, "1")
    assert made == Logins("chat_a", {"chat_a": "new-1", "chat_b": "new-2"}, request="1")
    assert step(made, "1") == made


def test_a_rotation_from_request_to_end() -> None:
    assert step(SETTLED, "1") == SETTLED
    assert step(SETTLED, None) == SETTLED, "a removed annotation asks for nothing"
    preparing = step(SETTLED, "2", now=100)
    assert preparing == Logins("chat_a", {"chat_a": "a", "chat_b": "new-1"}, "preparing", 100, "2")
    assert step(preparing, "2", Signs(applied=SETTLED.revision(KEY)), 200) == preparing, "PostgreSQL has it not yet"
    following = step(preparing, "2", Signs(applied=preparing.revision(KEY)), 200)
    assert (following.active, following.stage, following.passwords) == ("chat_b", "following", preparing.passwords)
    assert step(following, "2", Signs(followed=("chat_b", "chat_a")), 210) == following
    assert step(following, "2", Signs(followed=("chat_b", None)), 210) == following
    settled = step(following, "2", Signs(followed=("chat_b", "chat_b")), 210)
    assert settled == Logins("chat_b", {"chat_a": "new-1", "chat_b": "new-1"}, "settled", 210, "2")
    assert step(settled, "2") == settled


def test_a_server_that_cannot_be_asked_keeps_no_password_good_for_ever() -> None:
    following = Logins("chat_b", SETTLED.passwords, "following", 1000, "2")
    assert step(following, "2", Signs(followed=(None,)), 1000 + FOLLOW_SECONDS) == following
    assert step(following, "2", Signs(followed=(None,)), 1001 + FOLLOW_SECONDS).stage == "settled"


def test_a_request_during_a_rotation_waits_for_its_end() -> None:
    preparing = step(SETTLED, "2")
    assert step(preparing, "3") == preparing
    following = step(preparing, "3", Signs(applied=preparing.revision(KEY)))
    settled = step(following, "3", Signs(followed=("chat_b",)))
    assert (settled.stage, settled.request) == ("settled", "2")
    assert step(settled, "3").stage == "preparing"


def test_an_old_volume_gets_two_roles_without_being_asked_and_loses_the_login_of_the_owner() -> None:
    held = read({"username": OWNER, "password": "old"}.get, {})
    preparing = step(held)
    assert preparing == Logins(OWNER, {OWNER: "old", "chat_a": "new-1", "chat_b": "new-2"}, "preparing", 0, None)
    following = step(preparing, signs=Signs(applied=preparing.revision(KEY)))
    assert (following.active, following.passwords[OWNER]) == ("chat_a", "old")
    assert step(following, signs=Signs(followed=(OWNER,))) == following
    settled = step(following, signs=Signs(followed=("chat_a",)))
    assert settled == Logins("chat_a", {"chat_a": "new-1", "chat_b": "new-2"})


@pytest.mark.parametrize("stage", ["settled", "preparing", "following"])
def test_the_secret_holds_all_of_it(stage: Any) -> None:
    logins = Logins("chat_b", {"chat_a": "ä p@ss", "chat_b": "b"}, stage, 0 if stage == "settled" else 7, "now!")
    secret = database_secret(cluster(), Credentials(logins, KEY))
    assert read(lambda key: secret_text(secret, key), secret["metadata"]["annotations"]) == logins


@pytest.mark.parametrize(
    ("changed", "active", "passwords"),
    [
        ({"password": "mine"}, "chat_a", {"chat_a": "a", "chat_b": "b"}),
        ({"username": "mine"}, "chat_a", {"chat_a": "a", "chat_b": "b"}),
        ({"password.chat_a": "mine"}, "chat_a", {"chat_a": "mine", "chat_b": "b"}),
        ({"password.chat_b": None}, "chat_a", {"chat_a": "a", "chat_b": "new-1"}),
        ({"password.chat_a": None}, "chat_b", {"chat_a": "new-1", "chat_b": "b"}),
        ({"username": None, "password": None}, "chat_a", {"chat_a": "a", "chat_b": "b"}),
        (
            {"password.chat_a": None, "password.chat_b": None},
            "chat_a",
            {"chat_a": "new-1", "chat_b": "new-2"},
        ),
    ],
)
def test_a_secret_that_somebody_edited_heals(
    changed: dict[str, str | None], active: str, passwords: dict[str, str]
) -> None:
    keys: dict[str, str | None] = {
        "username": "chat_a",
        "password": "a",
        "password.chat_a": "a",
        "password.chat_b": "b",
    }
    healed = step(read({**keys, **changed}.get, {REQUEST_ANNOTATION: "1"}), "1")
    assert (healed.active, healed.passwords, healed.stage) == (active, passwords, "settled")


def test_no_password_is_shown() -> None:
    assert "secret" not in repr(Logins("chat_a", {"chat_a": "secret", "chat_b": "secret"}))
    assert "secret" not in repr(Credentials(Logins("chat_a", {"chat_a": "secret"}), "secret"))


@given(
    order=st.lists(st.sampled_from(["ask", "reconcile", "agent", "server 0", "server 1"]), max_size=60),
    old=st.booleans(),
)
def test_whatever_comes_first_nobody_ever_has_a_password_that_is_refused(order: list[str], *, old: bool) -> None:
    """Mounted files are as old as the order leaves them; each server must get in with its own at any moment."""
    new_password = numbered()
    secret = (
        Logins(OWNER, {OWNER: "old"})
        if old
        else advance(None, request="0", signs=Signs(), salt=KEY, now=0, new_password=new_password)
    )
    database, applied = dict(secret.passwords), secret.revision(KEY)
    servers = [(secret.active, secret.password)] * 2
    asked = 0
    for what in order:
        if what == "ask":
            asked += 1
        elif what == "reconcile":
            signs = Signs(applied=applied, followed=tuple(role for role, _ in servers))
            secret = advance(secret, request=str(asked), signs=signs, salt=KEY, now=0, new_password=new_password)
        elif what == "agent":
            database, applied = dict(secret.passwords), secret.revision(KEY)
        else:
            servers[int(what[-1])] = (secret.active, secret.password)
        for role, password in servers:
            assert database.get(role) == password
