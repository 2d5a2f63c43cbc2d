"""The spellings of phone numbers that people paste and that WhatsApp, Signal and Telegram use: one number each."""

# ruff: noqa: RUF001 - digits of other scripts are what this is about

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatserver.errors import ValidationFailed
from chatserver.users.phone_numbers import check_phone_number, is_number

LRE, PDF, LRM, NBSP, NARROW = "\u202a", "\u202c", "\u200e", "\u00a0", "\u202f"

# By population, and those with spellings of their own. Signal and Telegram show E.164 with spaces, WhatsApp's ids are
# E.164 without the plus, which is added here.
COUNTRIES = {
    "+919876543210": ["+91 98765 43210", "+91 098765 43210", "0091 9876543210", "+९१ ९८७६५ ४३२१०"],
    "+8613800138000": ["+86 138 0013 8000", "+86 0138 0013 8000", "＋８６ １３８００１３８０００",
                       "＋８６（０）138～0013～8000"],
    "+14155550101": ["+1 (415) 555-0101", "+1-415-555-0101", "+1 415 555 0101", "tel:+1-415-555-0101"],
    "+628123456789": ["+62 812-3456-789", "+62 0812-3456-789", "0062812 3456 789"],
    "+923001234567": ["+92 300 1234567", "+92 0300 1234567", "+۹۲ ۳۰۰ ۱۲۳۴۵۶۷"],
    "+2348031234567": ["+234 803 123 4567", "+234 0803 123 4567"],
    "+5531988887777": ["+55 31 98888-7777", "+55 (031) 98888-7777", "+55 (031) 8888-7777", "+553188887777"],
    "+8801712345678": ["+880 1712-345678", "+880 01712-345678", "+৮৮০ ১৭১২-৩৪৫৬৭৮"],
    "+79123456789": ["+7 912 345-67-89", "+7 (912) 345 67 89", "+7 8 912 345 67 89"],
    "+525512345678": ["+52 55 1234 5678", "+5215512345678", "+52 1 55 1234 5678", "+52 044 55 1234 5678"],
    "+819012345678": ["+81 90-1234-5678", "+81 090-1234-5678",
                      "＋８１（９０）１２３４ー５６７８", "+81・90・1234・5678"],
    "+251911234567": ["+251 91 123 4567", "+251 0911 234567"],
    "+639171234567": ["+63 917 123 4567", "+63 0917 123 4567"],
    "+201012345678": ["+20 10 12345678", "+20 010 1234 5678", "+٢٠ ١٠ ١٢٣٤ ٥٦٧٨"],
    "+84912345678": ["+84 91 234 56 78", "+84 0912 345 678"],
    "+243812345678": ["+243 812 345 678", "+243 0812 345 678"],
    "+905321234567": ["+90 532 123 45 67", "+90 (0532) 123 45 67"],
    "+989123456789": ["+98 912 345 6789", "+98 0912 345 6789", "+۹۸ ۹۱۲ ۳۴۵ ۶۷۸۹"],
    "+491701234567": ["+49 170 1234567", "+49 (0)170 1234567", "+49 170/1234567", "0049 170 1234567"],
    "+66812345678": ["+66 81 234 5678", "+66 081 234 5678", "+๖๖ ๘๑ ๒๓๔ ๕๖๗๘"],
    "+447911123456": ["+44 7911 123456", "+44 (0)7911 123456", "(+44) 7911 123456"],
    "+255712345678": ["+255 712 345 678", "+255 0712 345 678"],
    "+33612345678": ["+33 6 12 34 56 78", "+33 (0)6 12 34 56 78", "+33\u202f6\u202f12\u202f34\u202f56\u202f78"],
    "+27821234567": ["+27 82 123 4567", "+27 082 123 4567"],
    "+390669812345": ["+39 06 698 12345", "+39 (0)6 69812345"],
    "+393123456789": ["+39 312 345 6789"],
    "+254712345678": ["+254 712 345678", "+254 0712 345678"],
    "+95912345678": ["+95 9 12345678", "+95 09 1234 5678"],
    "+573001234567": ["+57 300 1234567", "+57 03 300 1234567"],
    "+821012345678": ["+82 10-1234-5678", "+82 010-1234-5678"],
    "+972501234567": ["+972-(0)50-123-4567", "\u200f+972 [50] 123 4567"],
    "+380501234567": ["+38 (050) 123-45-67", "+380 50 123 45 67"],
    "+36301234567": ["+36 (06) 30 123 4567", "+36 30/123-4567"],
    "+48512345678": ["+48.512.345.678", "+48 512~345~678"],
    "+855912345678": ["+855 91 234 5678", "+855 0912345678", "+៨៥៥ ៩១ ២៣៤ ៥៦៧៨"],
    "+256712345678": ["+256 712 345678", "+256 0712 345678"],
    "+34612345678": ["+34 612 34 56 78", "+34·612·345·678"],
    "+249912345678": ["+249 91 234 5678", "+249 0912345678"],
    "+213551234567": ["+213 551 23 45 67", "+213 0551 23 45 67"],
    "+5491123456789": ["+54 9 11 2345-6789", "+54 11 15-2345-6789", "+54 0 11 15 2345 6789", "+54 9 11 15 2345 6789"],
    "+541123456789": ["+54 11 2345-6789", "+54 (011) 2345-6789"],
    "+2250707123456": ["+225 07 07 12 34 56", "+22507123456", "+225 07 12 34 56"],
    "+2250544123456": ["+225 05 44 12 34 56", "+22544123456"],
    "+2250142123456": ["+225 01 42 12 34 56", "+22542123456"],
    "+2290197123456": ["+229 01 97 12 34 56", "+22997123456", "+229 97 12 34 56"],
    "+551130887777": ["+55 11 3088-7777"],
}  # fmt: skip


@pytest.mark.parametrize(("number", "spellings"), COUNTRIES.items())
def test_each_spelling_is_the_countrys_number_of_today(number: str, spellings: list[str]) -> None:
    found = {spelling: check_phone_number(spelling, "phone_number").number for spelling in [number, *spellings]}
    assert found == dict.fromkeys([number, *spellings], number)


@pytest.mark.parametrize("number", COUNTRIES)
@pytest.mark.parametrize(
    "pasted",
    [
        f"{LRE}{{}}{PDF}", f"{LRM}{{}}{LRM}", f"{NBSP}{{}}{NBSP}", " {} ", "{}\n", "\ufeff{}", "tel:{}", "TEL: {}",
        "\u2066tel:{}\u2069", "\u2068{}\u2069",
    ],
)  # fmt: skip
def test_what_is_pasted_around_a_number_does_not_count(number: str, pasted: str) -> None:
    assert check_phone_number(pasted.format(number), "phone_number").number == number
    between = NARROW.join(number[i : i + 3] for i in range(0, len(number), 3))
    assert check_phone_number(between.replace(NARROW, f"{LRM}\u2011"), "phone_number").number == number


def test_made_up_numbers_of_the_right_length_are_taken() -> None:
    assert check_phone_number("+15550000000", "phone_number").number == "+15550000000"


@pytest.mark.parametrize(
    "text",
    [
        "", "+", "tel:", "00", "0170 1234567", "491701234567", " 14155550101", "+1555", "+1555000000000000",
        "+1-800-FLOWERS", "+0001234567", "+1 415 555 0101 x12", "tel:+14155550101;ext=12", "+1 415 555 0101, 3",
        "+1 415 555 0101 / +1 415 555 0102", "++14155550101", "+1+4155550101", "+2259912", "ana",
        "+\u0661\u0662\u0663\u0664\u0665\u0666\u0667", "+1415555010\u00b2", "+1415555\x000101", "+1415555010\ud83d",
        " " * 60 + "+14155550101",
    ],
)  # fmt: skip
def test_other_texts_are_no_numbers(text: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_phone_number(text, "to")
    assert [error.path for error in caught.value.errors] == ["to"]


@pytest.mark.parametrize("text", ["+89123456789", "+999 12345678"])
def test_a_calling_code_of_no_country_is_not_called_a_wrong_length(text: str) -> None:
    with pytest.raises(ValidationFailed, match="calling code"):
        check_phone_number(text, "to")


@example("+310000000")
@given(
    st.text(max_size=40)
    | st.text("+0123456789 ()-", max_size=20)
    | st.from_regex(r"\A\+(52|54|55|225|229)[0-9]{6,12}\Z")
)
def test_any_text_is_a_number_or_a_named_error(text: str) -> None:
    try:
        found = check_phone_number(text, "to")
    except ValidationFailed as error:
        assert [field.path for field in error.errors] == ["to"]
    else:
        again = check_phone_number(found.number, "to")
        assert again.number == found.number
        assert set(again.stored) == set(found.stored)


def test_only_brazilian_mobiles_can_be_stored_under_two_forms() -> None:
    both = {"+5531988887777", "+553188887777"}
    assert check_phone_number("+55 31 98888-7777", "to").stored == ("+5531988887777", "+553188887777")
    # Two accounts may have been made: who writes the old form means that one.
    assert check_phone_number("+55 31 8888-7777", "to").stored == ("+553188887777", "+5531988887777")
    assert check_phone_number("+55 (031) 8888-7777", "to").stored == ("+553188887777", "+5531988887777")
    stored = {number: check_phone_number(number, "to").stored for number in COUNTRIES}
    assert {number for number, forms in stored.items() if len(forms) > 1} == {"+5531988887777"}
    assert set(stored["+5531988887777"]) == both


@pytest.mark.parametrize(
    "text", ["+14155550101", "(+44) 7911 123456", f"{LRE}+1 415 555 0101{PDF}", "tel:+14155550101"]
)
def test_a_recipient_that_begins_with_a_plus_is_a_number(text: str) -> None:
    assert is_number(text)


@pytest.mark.parametrize("text", ["ana", "0049", "a+b", "14155550101", "tel", "", "१२३"])
def test_every_other_recipient_is_a_username(text: str) -> None:
    assert not is_number(text)
