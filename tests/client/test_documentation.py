"""docs/python-client.md names what the client has: classes, calls and close codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import chatcluster_client
from chatcluster_client import LiveClient
from chatcluster_client.backoff import FIRST_SECONDS, MAX_SECONDS, STEADY_SECONDS
from chatcluster_client.connection import CLOSE_REPLACED, CLOSE_TOO_LARGE, FINAL_CLOSES, PING_SECONDS
from chatcluster_client.model import RETRY_MAX_SECONDS, RETRY_MIN_SECONDS, RETRYABLE_CODES

PAGE = (Path(__file__).parents[2] / "docs" / "python-client.md").read_text()


@pytest.mark.parametrize("name", chatcluster_client.__all__)
def test_every_public_class_is_explained(name: str) -> None:
    assert name in PAGE


def test_every_call_of_a_live_client_has_its_outcome() -> None:
    table = PAGE.partition("## What each call gives")[2].partition("\n## ")[0]
    calls = {name for name, value in vars(LiveClient).items() if callable(value) and not name.startswith("_")}
    assert calls == set(re.findall(r"live\.(\w+)\(", table))


@pytest.mark.parametrize("code", [*FINAL_CLOSES, CLOSE_REPLACED, CLOSE_TOO_LARGE])
def test_every_close_code_that_the_client_knows_is_in_the_table(code: int) -> None:
    table = PAGE.partition("## Close codes and back-off")[2]
    assert re.search(rf"^\| .*\b{code}\b", table, re.MULTILINE)


@pytest.mark.parametrize(
    "words",
    [
        f"a ceiling of {FIRST_SECONDS} s that doubles with each failure to {MAX_SECONDS:.0f} s",
        f"when a connection has lasted {STEADY_SECONDS:.0f} s",
        f"silent for {2 * PING_SECONDS:.0f} s.",
        f"({RETRY_MIN_SECONDS} to {RETRY_MAX_SECONDS:.0f} s)",
        *(f"`{code}`" for code in sorted(RETRYABLE_CODES)),
    ],
)
def test_times_and_codes_are_those_of_the_client(words: str) -> None:
    assert words in PAGE
