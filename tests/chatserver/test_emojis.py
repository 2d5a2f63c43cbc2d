"""What is exactly one emoji, and which spellings are the same one."""

from __future__ import annotations

import emoji as listed
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver import emojis
from chatserver.checks import check_emoji
from chatserver.errors import ValidationFailed

ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
SPELLINGS = [
    ("👍", ["👍", "👍\ufe0f", "👍\ufe0e"]),
    ("👍🏽", ["👍🏽", "👍\ufe0f🏽", "👍🏽\ufe0f"]),
    ("❤\ufe0f", ["❤", "❤\ufe0f", "❤\ufe0e"]),
    ("1\ufe0f\u20e3", ["1\ufe0f\u20e3", "1\u20e3"]),
    ("#\ufe0f\u20e3", ["#\ufe0f\u20e3", "#\u20e3"]),
    ("©\ufe0f", ["©", "©\ufe0f"]),
    ("\u2139\ufe0f", ["\u2139", "\u2139\ufe0f"]),
    ("‼\ufe0f", ["‼", "‼\ufe0f"]),
    ("🇩🇪", ["🇩🇪", "🇩🇪\ufe0f"]),
    ("👁\ufe0f\u200d🗨\ufe0f", ["👁\ufe0f\u200d🗨\ufe0f", "👁\u200d🗨", "👁\ufe0f\u200d🗨", "👁\u200d🗨\ufe0f"]),
    ("🏳\ufe0f\u200d🌈", ["🏳\ufe0f\u200d🌈", "🏳\u200d🌈"]),
    ("👩🏻\u200d❤\ufe0f\u200d💋\u200d👨🏿", ["👩🏻\u200d❤\ufe0f\u200d💋\u200d👨🏿", "👩🏻\u200d❤\u200d💋\u200d👨🏿"]),
    ("👨\u200d👩\u200d👧\u200d👦", ["👨\u200d👩\u200d👧\u200d👦"]),
    (
        ENGLAND,
        [ENGLAND],
    ),
    ("\U0001fae8", ["\U0001fae8"]),
    ("\U0001faea", ["\U0001faea"]),
]


@pytest.mark.parametrize(("emoji", "spellings"), SPELLINGS)
def test_spellings_of_one_emoji_are_one(emoji: str, spellings: list[str]) -> None:
    assert {check_emoji(spelling, "emoji") for spelling in spellings} == {emoji}
    assert {emojis.spelled(spelling) for spelling in spellings} == {emoji}


def test_every_emoji_of_the_list_is_taken_in_each_spelling() -> None:
    for spelling, entry in listed.EMOJI_DATA.items():
        found = emojis.find(spelling)
        assert found is not None
        assert emojis.find(found) == found
        assert emojis.without_selectors(found) == emojis.without_selectors(spelling)
        if entry["status"] == listed.STATUS["fully_qualified"]:
            assert found == spelling


def test_skin_tones_and_genders_are_apart() -> None:
    apart = ["👍", "👍🏻", "👍🏿", "🏃", "🏃\u200d♂", "🏃\u200d♀", "🏃🏽\u200d♀", "🇩🇪", "🇩🇰"]
    assert len({emojis.find(emoji) for emoji in apart}) == len(apart)


def test_the_emoji_of_next_year_are_taken() -> None:
    # U+1FAFF is reserved for one, and has none by Unicode 18.
    assert emojis.find("\U0001faff") == "\U0001faff"


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "1", "#", ":)", "👍a", "👍 ", "\x00", "\n👍", "é", "中", "\ufffd", "👍" * 17, "👍👍", "—", "…",
        "★", "→", "€", "+", "\ufe0f", "\u200d", "\u20e3", "🇩", "🇩🇪🇫🇷", "🇽🇽", "👍\u200d", "\u200d👍", "👍\u200b", "❤❤",
        "🐶\u200d🐱", "🐶🏽", "👍\u0301", "🏴\U000e0067", "\u3164", "\u2800", "\U000e0067", "\ue000",
    ],
)  # fmt: skip
def test_what_is_not_exactly_one_emoji_is_refused(text: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_emoji(text, "emoji")
    assert [error.path for error in caught.value.errors] == ["emoji"]


@given(st.text(max_size=20))
def test_any_text_is_an_emoji_or_not_and_stored_ones_stay_shown(text: str) -> None:
    found = emojis.find(text)
    assert emojis.spelled(text) == (found or text)
    assert found is None or emojis.find(found) == found
