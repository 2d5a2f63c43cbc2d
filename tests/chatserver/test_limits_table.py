"""Each limit of docs/protocol.md and of a welcome has a test that goes up to it and beyond."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from chatserver.apidocs.asyncapi import make_asyncapi

ROOT = Path(__file__).parents[2]

FIELDS = "tests/integration/test_published_limits.py::test_each_limit_is_kept_at_below_and_above"
BYTES = "tests/integration/test_published_limits.py::test_a_body_and_a_frame_have_so_many_bytes_and_no_more"
PROVED_BY = {
    "body of a request; frame to the server": BYTES,
    "headers of a request": (
        "tests/integration/test_published_limits.py::test_the_head_of_a_request_has_so_many_bytes_and_no_more"
    ),
    "text of a message": (
        "tests/integration/test_published_limits.py::test_texts_are_counted_in_characters_however_they_are_written"
    ),
    "username; name of a group or device": FIELDS,
    "what users say about themselves": (
        "tests/integration/test_privacy.py::test_what_users_say_of_themselves_is_bounded_and_can_be_removed"
    ),
    "description of a group": (
        "tests/integration/test_group_edits.py::test_a_description_is_bounded_and_a_picture_is_a_url"
    ),
    "members of a group": (
        "tests/integration/test_full_groups.py::test_a_group_is_full_with_so_many_members_and_no_more"
    ),
    "valid invites of a group": (
        "tests/integration/test_invites.py::test_a_group_has_so_many_invites_and_those_that_expired_make_room"
    ),
    "codes of invites that one user tries in an hour; users at one address": (
        "tests/integration/test_invites.py::test_tries_at_codes_are_limited_for_a_user_and_an_address"
    ),
    "sends and syncs of one connection in flight": (
        "tests/chatserver/test_session.py::test_more_sends_than_may_wait_are_refused_until_one_is_answered"
    ),
    "chats in one `sync` or `POST /api/receipts`; users in one `subscribe`": FIELDS,
    "codes an hour: for one number from one address while nobody uses them; for one address": (
        "tests/integration/test_code_requests.py::test_addresses_sites_and_the_whole_chat_get_so_many_codes_an_hour"
    ),
    "wrong codes for one number in a day: from one address; from all": (
        "tests/integration/test_code_requests.py"
        "::test_wrong_codes_for_a_number_are_bounded_a_day_and_never_for_who_signed_in_before"
    ),
    "signed-in devices of one user; long polls of one user that wait on one server": (
        "tests/integration/test_polling.py::test_one_poll_too_many_is_refused_and_the_others_wait_on"
    ),
    "users of each kind in one `POST /api/users/lookup`": FIELDS,
    "exports of one user in a day": (
        "tests/integration/test_export.py::test_a_user_has_few_exports_a_day_and_one_at_a_time"
    ),
    "phone numbers looked up in a day: by one user; from one address": (
        "tests/integration/test_number_lookups.py::test_every_call_that_takes_a_number_counts_it"
    ),
    "sends and other changes of one user, calls with one token, in a minute": (
        "tests/integration/test_edge_limits.py::test_every_call_that_stores_counts"
    ),
    "bytes that one user has stored in an hour: texts in UTF-8, and 300 for each row": (
        "tests/integration/test_edge_limits.py::test_a_user_has_so_many_bytes_stored_whatever_way_they_come"
    ),
}
OF_A_WELCOME = {
    "max_frame_bytes": BYTES,
    "max_in_flight": PROVED_BY["sends and syncs of one connection in flight"],
    "max_sync_chats": FIELDS,
    "max_subscribed_users": FIELDS,
}


def test_each_row_of_the_table_of_limits_names_its_test() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").partition("\n## Limits\n")[2]
    table = text.partition("| --- | --- |\n")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines()]
    assert len(rows) > 10
    assert set(rows) == PROVED_BY.keys()


def test_each_limit_of_a_welcome_names_its_test() -> None:
    document = msgspec.json.decode(msgspec.json.encode(make_asyncapi()))
    text = (ROOT / "chatserver" / "chatserver" / "socket" / "conversation.py").read_text(encoding="utf-8")
    sent = set(re.findall(r'"(max_\w+)": protocol\.', text))
    assert sent == OF_A_WELCOME.keys()
    assert all(name in msgspec.json.encode(document).decode() for name in sent)


def test_the_tests_that_are_named_are_there() -> None:
    for name in {*PROVED_BY.values(), *OF_A_WELCOME.values()}:
        path, _, function = name.partition("::")
        assert re.search(rf"^(async )?def {function}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), name
