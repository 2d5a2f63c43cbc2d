"""What is remembered of restore drills, and what their errors mean."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from chatoperator.parts.credentials import DATABASE_NAME
from postgresbackup import drill, drilled, problems
from postgresbackup.drilled import ANNOTATION, Begun, Content, Drilled
from postgresbackup.problems import TEXT_MAX, Code
from tests.postgresbackup.test_repository import at, backup, made, segment

GOOD = Drilled(
    at=at(5),
    seconds=61.5,
    backup="F",
    tries=0,
    request="abc",
    good_at=at(5),
    content=Content(users=2, chats=1, messages=500, newest_message=at(4, 59), restored_to=at(4, 58)),
)
FAILED = dataclasses.replace(
    GOOD, at=at(6), tries=2, code=Code.DAMAGED, text='index "messages_pkey" = broken, é', content=None
)


@pytest.mark.parametrize(
    "last", [GOOD, FAILED, dataclasses.replace(GOOD, good_at=None, content=Content(0, 0, 0, None, None))]
)
def test_the_repository_remembers_a_drill_in_one_line(last: Drilled) -> None:
    text = drilled.written(last)
    assert drilled.read(text) == last
    assert "\n" not in text
    assert text.isascii()


def test_a_long_error_is_remembered_in_part() -> None:
    read = drilled.read(drilled.written(dataclasses.replace(FAILED, text="x" * TEXT_MAX)))
    assert read is not None
    assert len(read.text) == drilled.REMEMBERED_MAX


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "7", '{"at":"x"}', drilled.written(GOOD)[:-5]])
def test_garbage_is_no_drill(text: str) -> None:
    assert drilled.read(text) is None


def test_the_last_drill_is_that_of_any_backup() -> None:
    first, second = drilled.written(GOOD), drilled.written(FAILED)
    found = made(
        backup("F", "full", at(1), segment(2), segment(2), **{ANNOTATION: second}),
        backup("I", "incr", at(2), segment(3), segment(3), **{ANNOTATION: first}),
        backup("J", "incr", at(3), segment(4), segment(4), **{ANNOTATION: "garbage"}),
    )
    assert drilled.remembered(found) == FAILED
    assert drilled.remembered(made()) is None


def test_a_mark_that_was_cut_off_is_that_of_a_first_try() -> None:
    begun = Begun(at(4), 2, "abc")
    assert drilled.begun_read(drilled.begun_written(begun), at(5)) == begun
    assert drilled.begun_read("", at(5)) == Begun(at(5), 1, "")


def test_a_drill_reads_the_same_repository_and_no_other_host() -> None:
    host = (
        "[global]\nrepo1-type=posix\nrepo1-path=/repository\ntls-server-address=*\ntls-server-auth=demo=chat\n"
        "process-max=2\n\n[chat]\npg1-host=demo-backup-1.chat.svc\npg1-path=/var/lib/postgresql/data/pgdata\n"
    )
    made = drilled.configuration(host, "/drill/pgdata")
    assert made.split() == [
        "[global]", "repo1-type=posix", "repo1-path=/repository", "process-max=2", "[chat]", "pg1-path=/drill/pgdata",
    ]  # fmt: skip


UNREACHABLE = (
    "2026-11-30 05:00:00 UTC LOG:  starting archive recovery\n"
    "ERROR: [103]: unable to find a valid repository:\n"
    "       repo1: [HostConnectError] unable to connect to 's3:443': [110] Connection timed out\n"
    '2026-11-30 05:00:09 UTC FATAL:  could not restore file "000000010000000000000003" from archive: '
    "child process exited with exit code 255\n"
)
"""What the server and its restore_command print."""


@pytest.mark.parametrize(
    ("log", "code", "said"),
    [
        (
            UNREACHABLE,
            Code.OTHER,
            "Connection timed out",
        ),
        ("P00  ERROR: [095]: unable to flush\nFATAL:  could not restore file\n", Code.WRONG_KEY, "decrypted"),
        (
            'LOG:  x\nFATAL:  could not write to file "pg_wal/xlogtemp.1": No space left on device\n',
            Code.FULL,
            "No space",
        ),
        ("LOG:  x\nPANIC:  no valid checkpoint record\nLOG: y\n", Code.NOT_RECOVERED, "checkpoint record"),
        ("killed", Code.NOT_RECOVERED, "killed"),
        ("", Code.NOT_RECOVERED, ""),
    ],
)  # fmt: skip
def test_a_recovery_that_ended_says_why(log: str, code: Code, said: str) -> None:
    found = problems.recovery(log)
    assert found.code is code
    assert said in found.text
    assert "FATAL" not in found.text


def test_the_database_has_the_name_that_the_operator_gives_it() -> None:
    assert drill.DATABASE == DATABASE_NAME


def test_the_server_of_a_drill_is_reached_by_no_network() -> None:
    assert drill.SERVER["listen_addresses"] == ""
    assert drill.SERVER["archive_mode"] == "off"


def test_a_drill_is_json_for_pgbackrest() -> None:
    raw: dict[str, Any] = json.loads(drilled.written(FAILED))
    assert (raw["code"], raw["content"]) == ("damaged", None)
