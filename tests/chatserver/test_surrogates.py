"""Which field of a refused document has half of a surrogate pair."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.surrogates import MAX_PATH_CHARS, Unpaired, find_unpaired

ID = "3f2b8c1e-8d5a-4a7e-9c55-0f6f2f6f1c11"


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"id": ID, "text": "half \ud83d"}, "text"),
        ({"id": ID, "text": "\udc4d half"}, "text"),
        ({"id": ID, "text": "\udc4d\ud83d"}, "text"),
        ({"id": ID, "members": ["ana", "\ud83d"]}, "members[1]"),
        ({"id": ID, "a": {"b": [{"c": "\ud83d"}]}, "d": "\ud83d"}, "a.b[0].c"),
        ({"id": ID, "a": {"\ud83d": 1}}, "a"),
        ({"id": ID, "\ud83d": 1}, "body"),
        ({"id": ID, "x" * 300: "\ud83d"}, "x" * MAX_PATH_CHARS),
    ],
)
def test_the_field_and_the_frame_are_named(document: dict[str, object], path: str) -> None:
    assert find_unpaired(json.dumps(document)) == Unpaired(path, ID)
    assert find_unpaired(json.dumps(document).encode()) == Unpaired(path, ID)


@pytest.mark.parametrize("frame_id", ["half \ud83d", 7, None, [ID]])
def test_an_id_that_cannot_be_sent_back_is_none(frame_id: object) -> None:
    found = find_unpaired(json.dumps({"text": "\ud83d", "id": frame_id}))
    assert found is not None
    assert found.frame_id is None


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "\ud800",
        "[" * 100_000,
        '{"text": "\\ud83d"',
        '{"text": "\\ud83d\\udc4d"}',
        # UTF-8 has no surrogates: this is no JSON, and no text in UTF-16 or UTF-32 either.
        b'{"text": "\xed\xa0\xbd"}',
        b"\xff",
        '{"text": "\\ud83d"}'.encode("utf-16"),
        "9" * 5000,
    ],
)
def test_other_documents_have_none(data: str | bytes) -> None:
    assert find_unpaired(data) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(JSON)
def test_any_document_has_one_exactly_when_utf8_cannot_hold_it(document: object) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        assert find_unpaired(json.dumps(document)) is not None
    else:
        assert find_unpaired(json.dumps(document)) is None
