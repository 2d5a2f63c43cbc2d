"""Errors of pgBackRest, in the words that it prints."""

from __future__ import annotations

import pytest

from postgresagent.volume import Space
from postgresbackup import problems
from postgresbackup.problems import Code, Problem


@pytest.mark.parametrize(
    ("exit_code", "output", "expected"),
    [
        (95, "ERROR: [095]: unable to load info file: CryptoError: cipher header invalid", Code.WRONG_KEY),
        (49, "ERROR: [049]: unable to connect to '127.0.3.1:7443': [111] Connection refused", Code.UNREACHABLE),
        (49, "ERROR: [049]: raised from remote-0 tls protocol on 'y': no", Code.DATABASE_UNREACHABLE),
        (64, "ERROR: [064]: unable to write '/repository/x': [28] No space left on device", Code.FULL),
        (49, "ERROR: [095]: unable to verify certificate presented by 's3:443': self-signed certificate", Code.TLS),
        (39, "ERROR: [039]: HTTP request failed with 403 (Forbidden): <Code>AccessDenied</Code>", Code.ACCESS_DENIED),
        (82, "ERROR: [082]: WAL segment 000000010000000000000003 was not archived before the timeout", Code.ARCHIVE),
        (56, "ERROR: [056]: unable to find primary cluster - cannot proceed", Code.DATABASE_UNREACHABLE),
        (28, "ERROR: [028]: backup and archive info files exist but do not match the archive", Code.OTHER_DATABASE),
        (50, "ERROR: [050]: unable to acquire lock on file", Code.BUSY),
        (125, "", Code.OTHER),
        (-9, "", Code.OTHER),
    ],
)  # fmt: skip
def test_each_failure_has_a_code(exit_code: int, output: str, expected: Code) -> None:
    assert problems.problem(exit_code, output).code is expected


def test_an_error_is_one_line_with_its_hints_and_without_the_rest() -> None:
    output = (
        "2026-11-30 09:30:39.196 P00   INFO: backup command begin 2.55.1: --repo1-cipher-pass=<redacted>\n"
        "2026-11-30 09:30:39.196 P00   WARN: a standby is missing\n"
        "2026-11-30 09:30:39.560 P00  ERROR: [068]: archive_command must contain pgbackrest\n"
        "                                    HINT: is it?\n"
        "2026-11-30 09:30:39.565 P00   INFO: backup command end: aborted with exception [068]\n"
    )
    assert problems.text(output) == "archive_command must contain pgbackrest HINT: is it?"
    assert problems.problem(1, "").text == "pgbackrest ended with 1"
    assert len(problems.text(f"ERROR: [001]: {'x' * 10_000}")) == problems.TEXT_MAX


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("[CryptoError] unable to load info file '/r/archive.info'", Code.WRONG_KEY),
        ("[HostConnectError] unable to connect to 's3:443': [110] Connection timed out", Code.UNREACHABLE),
        ("[FileOpenError] unable to open file '/repository/x': [13] Permission denied", Code.ACCESS_DENIED),
        ("[FormatError] unable to load info file '/r/archive.info': \x88 found outside of section", Code.WRONG_KEY),
        ("something new", Code.OTHER),
    ],
)
def test_the_trouble_of_a_listing_has_a_code(said: str, expected: Code) -> None:
    assert problems.trouble(said).code is expected


def test_wal_that_is_not_archived_for_want_of_room_is_a_full_repository() -> None:
    late, full = Problem(Code.ARCHIVE, "late"), Space(size=1024**3, free=0)
    assert problems.explained(late, full).code is Code.FULL
    assert problems.explained(late, Space(size=1024**3, free=1024**3)) == late
    assert problems.explained(late, None) == late
    assert problems.explained(Problem(Code.BUSY, ""), full).code is Code.BUSY


def test_damage_is_what_verify_says() -> None:
    assert problems.damaged("stanza: chat\nstatus: ok\n") is None
    assert problems.damaged("") is None
    said = (
        "stanza: chat\nstatus: error\n  archiveId: 17-1, total WAL checked: 5, total valid WAL: 4\n"
        "    missing: 0, checksum invalid: 1, size invalid: 0, other: 0\n"
    )
    assert problems.damaged(said) == "status: error missing: 0, checksum invalid: 1, size invalid: 0, other: 0"
