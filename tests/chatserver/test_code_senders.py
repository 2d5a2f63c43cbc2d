"""Senders of sign-in codes: what is signed, what is tried again, and how much may wait."""

from __future__ import annotations

import hashlib
import hmac
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.accounts import code_senders
from chatserver.accounts.code_limits import (
    CODE_TRIES,
    NUMBER_WRONG_TRIES_PER_DAY,
    RESEND_SECONDS,
    WRONG_TRIES_PER_DAY,
    resend_wait_seconds,
)
from chatserver.accounts.code_senders import CodeMessage, LogSender, is_retryable, retry_wait_seconds, sign
from chatserver.accounts.webhook import FULL_RETRY_SECONDS, QUEUE_MAX, TRY_SECONDS, WebhookSender
from chatserver.errors import ServiceUnavailable
from chatserver.settings import read_settings

MESSAGE = CodeMessage("+14155550101", "123456", 300)


def test_the_signature_is_an_hmac_of_the_time_and_the_body() -> None:
    header = sign(b"a key of the gateway", b'{"code": "123456"}', 1_795_377_578)
    fields = dict(part.split("=") for part in header.split(","))
    signed = b'1795377578.{"code": "123456"}'
    assert fields == {
        "t": "1795377578",
        "v1": hmac.new(b"a key of the gateway", signed, hashlib.sha256).hexdigest(),
    }


@pytest.mark.parametrize(
    ("status", "again"),
    [(500, True), (503, True), (599, True), (408, True), (429, True), (400, False), (401, False), (404, False)],
)
def test_only_what_may_succeed_later_is_tried_again(status: int, again: bool) -> None:  # noqa: FBT001 - a table
    assert is_retryable(status) is again


@given(random_values=st.lists(st.floats(0, 1), min_size=100, max_size=100), try_seconds=st.floats(0, 5))
def test_tries_end_before_the_number_may_be_sent_another_code(random_values: list[float], try_seconds: float) -> None:
    age_seconds = 0.0
    for tries, value in enumerate(random_values, start=1):
        wait_seconds = retry_wait_seconds(tries, age_seconds, value)
        if wait_seconds is None:
            break
        assert wait_seconds > 0
        age_seconds += wait_seconds
        assert age_seconds < RESEND_SECONDS
        age_seconds += try_seconds
    else:
        raise AssertionError("never gave up")
    assert code_senders.GIVE_UP_SECONDS <= RESEND_SECONDS


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    results: list[str] = []
    sender = WebhookSender("http://127.0.0.1:9/", lambda: b"key", on_result=results.append)
    with ExitStack() as reserved:
        for _ in range(QUEUE_MAX - 1):
            reserved.enter_context(sender.reserve())
        with sender.reserve() as send:
            send(MESSAGE)
        assert sender.waiting() == QUEUE_MAX
        with pytest.raises(ServiceUnavailable) as caught, sender.reserve():
            raise AssertionError("there was room")
        assert caught.value.retry_after_seconds == FULL_RETRY_SECONDS
        assert results == ["refused"]
    # What was reserved and not used is room again; what was taken waits.
    assert sender.waiting() == 1


def test_the_development_sender_takes_any_number_and_shows_the_code() -> None:
    results: list[str] = []
    sender = LogSender(results.append)
    assert sender.reveals_codes
    assert not WebhookSender("http://127.0.0.1:9/", lambda: b"key", on_result=results.append).reveals_codes
    with sender.reserve() as send:
        send(MESSAGE)
    assert (results, sender.waiting()) == (["sent"], 0)


def test_the_documented_check_takes_what_is_signed_and_nothing_else() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sign-in-codes.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"hmac": hmac}
    exec(source, names)  # noqa: S102 - our own page
    body, key, now = b'{"code":"123456"}', b"a key of the gateway", 1_795_377_578
    header = sign(key, body, now)
    genuine = names["is_genuine"]
    assert genuine(header, body, key, now + 60.5)
    assert not genuine(header, body + b" ", key, now)
    assert not genuine(header, body, b"another key of the gateway", now)
    assert not genuine(header, body, key, now + 301)
    assert not genuine(header.replace(str(now), str(now + 1)), body, key, now)


def test_the_documented_numbers_are_those_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sign-in-codes.md").read_text(encoding="utf-8")
    waits = [resend_wait_seconds(unused, 0) for unused in range(1, 6)]
    settings = read_settings({"CHAT_DATABASE_DSN": "postgresql://x", "CHAT_SECRET_KEY": "0123456789abcdef"})
    for said in (
        f"no answer within {TRY_SECONDS:.0f} s",
        f"until {code_senders.GIVE_UP_SECONDS:.0f} s after",
        f"{QUEUE_MAX:,} codes were waiting",
        "| after {:.0f} s, then {:.0f} s, {:.0f} s, {:.0f} s, {:.0f} s |".format(*waits),
        f"(`codesPerNumberPerHour`) | {settings.codes_per_number_per_hour} |",
        f"its /64 | {settings.codes_per_address_per_hour:,} |",
        f"(`codesPerHour`) | {settings.codes_per_hour:,} |",
        f"from all | {WRONG_TRIES_PER_DAY}; {NUMBER_WRONG_TRIES_PER_DAY} |",
        f"(`storedBytesPerUserPerHour`) | {settings.stored_bytes_per_user_per_hour:,} |",
        f"(`numbersPerUserPerDay`), but for those that they found before | {settings.numbers_per_user_per_day:,} |",
        f"(`numbersPerAddressPerDay`) | {settings.numbers_per_address_per_day:,} |",
        f"| tries at one code | {CODE_TRIES} |",
        f"together | {settings.messages_per_user_per_minute} |",
        f"(`requestsPerDevicePerMinute`) | {settings.requests_per_device_per_minute:,} |",
    ):
        assert said in text
