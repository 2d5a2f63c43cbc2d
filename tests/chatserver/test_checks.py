"""What passes as a phone number, a username, a message."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.checks import check_text, check_url
from chatserver.errors import ChatError, ValidationFailed
from chatserver.limits.addresses import address_subject
from chatserver.messaging.validation import check_message, content_hash
from chatserver.model import SendMessage
from chatserver.storage.migrate import AppliedMigration, SchemaRefused, parse_migrations, plan


@given(st.text(max_size=200))
def test_checked_text_can_be_stored(text: str) -> None:
    try:
        check_text(text, "text")
    except ValidationFailed:
        assert "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text)
    else:
        assert "\x00" not in text


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "javascript:alert(1)", "//a/b", "https://", "http://a b", "https://[", ""]
)
def test_no_urls(url: str) -> None:
    with pytest.raises(ValidationFailed):
        check_url(url, "media_url")


@given(
    st.builds(
        SendMessage,
        to=st.none() | st.text(max_size=60),
        chat_id=st.none() | st.integers(),
        text=st.none() | st.text(max_size=60),
        message_type=st.sampled_from(["text", "image", "x"]),
        media_url=st.none() | st.text(max_size=60) | st.just("https://example.com/a"),
        client_id=st.none() | st.text(max_size=40) | st.uuids().map(str),
        reply_to=st.none() | st.integers(),
        timestamp=st.none() | st.floats(),
    )
)
def test_any_message_is_stored_as_asked_or_refused(message: SendMessage) -> None:
    try:
        checked = check_message(message, 1, new_client_id=lambda: uuid.UUID(int=7))
    except ChatError as error:
        assert error.status in {404, 422}
    else:
        # An empty caption is none.
        stored = (checked.text, checked.message_type, checked.media_url)
        assert stored == (message.text or None, message.message_type, message.media_url)
        assert checked.client_id == (message.client_id or str(uuid.UUID(int=7))).lower()


def test_content_hash_tells_fields_apart() -> None:
    contents = [
        ("a", "text", None, None),
        (None, "text", "a", None),
        ("a", "image", None, None),
        ("a", "text", None, 1),
    ]
    assert len({content_hash(*content) for content in contents}) == len(contents)


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nonsense", "unknown"),
    ],
)
def test_limits_count_by_what_one_client_has(address: str, subject: str) -> None:
    assert address_subject(address) == subject


FILES = {"0001_make_a.sql": "-- oldest code: 1\n", "0002_make_b.sql": "-- oldest code: 1\n-- b"}


def applied(*numbers: int, oldest_code: int = 1) -> list[AppliedMigration]:
    known = parse_migrations(FILES)
    names = {item.number: item for item in known}
    return [
        AppliedMigration(number, names[number].name, 1, names[number].checksum)
        if number in names
        else AppliedMigration(number, f"{number:04d}_new.sql", oldest_code, "?")
        for number in numbers
    ]


def test_plan_is_what_is_missing() -> None:
    known = parse_migrations(FILES)
    assert plan(known, []) == known
    assert plan(known, applied(1)) == known[1:]
    assert plan(known, applied(1, 2)) == ()
    assert plan(known, applied(1, 2, 3, oldest_code=2)) == ()
    with pytest.raises(SchemaRefused):
        plan(known, applied(1, 2, 3, oldest_code=3))


@pytest.mark.parametrize(
    "files",
    [{"0002_make_a.sql": "-- oldest code: 1"}, {"0001_make_a.sql": "CREATE"}, {"1_make_a.sql": "-- oldest code: 1"}],
)
def test_misnamed_or_headless_migration_is_refused(files: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="migration"):
        parse_migrations(files)
