"""The agent's decisions, without a server."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import TYPE_CHECKING

import pytest

from postgresagent import configuration, report, roles, verifiers
from postgresagent.volume import Space, is_full

if TYPE_CHECKING:
    from pathlib import Path

SECRET = {
    "username": "chat_a",
    "password": "a",
    "database": "chat",
    "owner": "chat",
    "revision": "r1",
    "password.chat_a": "a",
    "password.chat_b": "b",
}


def mounted(folder: Path, keys: dict[str, str]) -> Path:
    for name, text in keys.items():
        (folder / name).write_text(text)
    return folder


def test_a_verifier_is_that_of_rfc_7677() -> None:
    """The RFC's own example: user `user`, password `pencil`; its keys lead to the RFC's proof and signature."""
    made = verifiers.make("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    assert made == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert verifiers.matches(made, "pencil")
    assert not verifiers.matches(made, "Pencil")


@pytest.mark.parametrize("verifier", [None, "", "md5abc", "SCRAM-SHA-256$x"])
def test_what_is_no_verifier_matches_nothing(verifier: str | None) -> None:
    assert not verifiers.matches(verifier, "")


def test_the_mounted_secret_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    want = roles.desired(mounted(tmp_path, SECRET))
    assert want == roles.Desired("chat", "chat", {"chat_a": "a", "chat_b": "b"}, "r1")
    assert "'a'" not in repr(want)
    (tmp_path / "owner").write_text("")
    with pytest.raises(roles.SecretIncomplete, match="owner is missing or empty"):
        roles.desired(tmp_path)


def test_a_secret_with_one_role_is_enough(tmp_path: Path) -> None:
    keys = {key: SECRET[key] for key in ("username", "password", "database")}
    assert roles.desired(mounted(tmp_path, keys)) == roles.Desired("chat_a", "chat", {"chat_a": "a"}, "")


def test_what_is_right_is_left_alone() -> None:
    want = roles.Desired("chat", "chat", {"chat_a": "a", "chat_b": "b"}, "r1")
    login = {"login": True, "settings": ["role=chat"]}
    right = roles.Found(
        roles={
            "chat": {"login": False, "verifier": None, "settings": []},
            "chat_a": {**login, "verifier": verifiers.make("a", b"salt")},
            "chat_b": {**login, "verifier": verifiers.make("b", b"other", 8192)},
        },
        memberships=frozenset({("chat_a", "chat"), ("chat_b", "chat")}),
        databases=frozenset({"postgres", "chat"}),
    )
    assert roles.statements(want, right) == []


def test_no_password_is_part_of_a_statement() -> None:
    want = roles.Desired('o"w', "d'b", {"a": "the password"}, "r1")
    made = roles.statements(want, roles.Found({}, frozenset(), frozenset()))
    assert made[0] == 'CREATE ROLE "o""w" NOLOGIN'
    assert made[-2:] == ['CREATE DATABASE "d\'b" OWNER "o""w"', 'REVOKE ALL ON DATABASE "d\'b" FROM PUBLIC']
    assert not any("the password" in statement for statement in made)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            (
                '2026-11-25 15:00:00.1 UTC [7] LOG:  unrecognized configuration parameter "a" in file "/x/y" line 3\n'
                '2026-11-25 15:00:00.1 UTC [7] FATAL:  configuration file "/x/z" contains errors\n'
            ),
            'unrecognized configuration parameter "a"',
        ),
        ('LOG:  skipping missing configuration file "/x"\npostgres: too many\n', "too many"),
        ('LOG:  starting PostgreSQL 17\nFATAL:  could not access file "nope"\n', 'could not access file "nope"'),
        ("FATAL:  could not map\nDETAIL:  no memory\nHINT:  less\n", "could not map; no memory; less"),
    ],
)
def test_postgres_words_are_told_without_files_and_times(output: str, expected: str) -> None:
    assert configuration.words(output) == expected


def test_the_report_is_for_its_path_alone() -> None:
    page = report.Page("application/json", lambda: b'{"credentials": "r1"}')
    server = report.serve(0, {report.STATUS_PATH: page})
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for path in (report.STATUS_PATH, f"{report.STATUS_PATH}?x=1"):
            with opener.open(address + path) as answer:
                assert json.load(answer) == {"credentials": "r1"}
                assert answer.headers["Content-Type"] == "application/json"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            opener.open(f"{address}/")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("size_mib", "free_mib", "was_full", "expected"),
    [
        (10 * 1024, 200, False, True),
        (10 * 1024, 250, False, False),
        (10 * 1024, 250, True, True),
        (10 * 1024, 310, True, False),
        (256, 31, False, True),
        (256, 33, False, False),
        (10 * 1024 * 1024, 1023, False, True),
        (10 * 1024 * 1024, 1025, False, False),
    ],
)
def test_full_is_when_the_reserve_begins(*, size_mib: int, free_mib: int, was_full: bool, expected: bool) -> None:
    assert is_full(Space(size_mib * 1024**2, free_mib * 1024**2), was_full=was_full) is expected
