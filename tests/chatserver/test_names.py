"""What may be a name: readable in every script, visible, not turned round, and nobody else's at a glance."""

# ruff: noqa: RUF001 - characters that look alike are what this is about

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.errors import ValidationFailed
from chatserver.users.lookalikes import look
from chatserver.users.names import (
    ONE_SCRIPT,
    RESERVED,
    RESERVED_NAME,
    check_known_username,
    check_name,
    check_username,
    username_key,
)


@pytest.mark.parametrize(
    "name",
    [
        "ada", "Ada_1", "a", "_a", "jürgen.k", "x" * 50, "Straße", "İstanbul", "Ünal", "ʻokina",
        "रवि", "रवि२", "রবি", "ரவி", "రవి", "രവി", "ශ්\u200dරී", "สมชาย", "ສົມ", "ព្រះ", "အောင်", "བཀྲ", "አበበ", "ჯონი",
        "Անի", "Ἀθηνᾶ", "Анна", "מרים", "مریم", "می\u200cخواهم", "ދިވެހި", "李小龙", "山田たろう", "ヤマダ", "김철수",
        "ㄅㄆㄇ", "ᏣᎳᎩ", "ⵜⴰⵎ", "ߒߞߏ",
    ],
)  # fmt: skip
def test_names_of_every_living_script_are_usernames(name: str) -> None:
    assert check_username(name, "username") == name


@pytest.mark.parametrize(
    ("text", "stored"), [("ＡＤＡ", "ADA"), ("e\u0301va", "éva"), ("o\u0301" * 50, "ó" * 50), ("ｱﾀﾞ", "アダ")]
)
def test_a_username_is_stored_composed_and_of_usual_width(text: str, stored: str) -> None:
    assert check_username(text, "username") == stored


@pytest.mark.parametrize(
    "name",
    [
        "", "+491", "a b", ".a", "a-", "a\n", "a/b", "@ada", "x" * 51, "\u202eabc", "abc\u202e", "a\u200bb", "a\u200db",
        "\u3164", "\u115f", "\uffa0", "\u2800", "\u200b", "\ufeff", "\u00ad", "a\u00ad", "\u0301", "\u0301a", "a\x00",
        "\ud83d", "a\ud83d", "\ue000", "\U000e0041", "a\u2066b", "👍", "ada👍", "Ⅳ", "ª", "ﬁ", "𝐚𝐝𝐚", "①", "a²", "½",
        "deleted user", "a\u0316\u0317\u0318\u0319\u0320", "x" * 1_000_000, "\u0344" * 1_000_000,
    ],
)  # fmt: skip
def test_what_is_no_username(name: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_username(name, "username")
    assert [error.path for error in caught.value.errors] == ["username"]
    caught.value.detail.encode()


@pytest.mark.parametrize("name", ["1", "123", "0049170", "1_2", "1.2", "___", "_", "٣٤", "१२३", "４２"])
def test_a_username_has_a_letter(name: str) -> None:
    with pytest.raises(ValidationFailed):
        check_username(name, "username")


@pytest.mark.parametrize(
    "name",
    [
        "аda",
        "adа",
        "pаypal",
        "раураl",
        "αda",
        "adaアダ",
        "ada李",
        "abcא",
        "२a",
        "a٣",
        "रवि١",
        "𐌰𐌳𐌰",
        "Τom",
        "ꓮda",
        "ａdа",
    ],
)
def test_a_username_has_one_living_script(name: str) -> None:
    with pytest.raises(ValidationFailed):
        check_username(name, "username")


def test_the_reason_is_told() -> None:
    for name, reason in (("аda", ONE_SCRIPT), ("admin", RESERVED_NAME), ("a\u200bb", "not U+200B")):
        with pytest.raises(ValidationFailed) as caught:
            check_username(name, "username")
        assert reason in caught.value.detail


@pytest.mark.parametrize(
    "name",
    [
        "admin", "Admin", "ADMIN", "ADMlN", "AdmIn", "_admin_", "ad.min", "ad-min", "ádmin", "systëm",
        "ａｄｍｉｎ", "system", "SYSTEM", "ađmin", "Øwner", "ħelp", "aɖmin", "adminʼ", "ʻroot",
        "null", "nu1l", "NULL", "undefined", "none", "root", "r00t", "support", "deleted_user", "me", "everyone",
    ],
)  # fmt: skip
def test_misleading_usernames_are_reserved(name: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_username(name, "username")
    assert RESERVED_NAME in caught.value.detail


@pytest.mark.parametrize("name", ["admiral", "admin7", "systema", "nullable", "ana.root", "mel"])
def test_names_with_a_reserved_one_in_them_are_free(name: str) -> None:
    assert check_username(name, "username") == name


def test_every_reserved_name_is_refused() -> None:
    for name in RESERVED.split():
        for form in (name, name.upper(), name.title()):
            with pytest.raises(ValidationFailed, match="reserved"):
                check_username(form, "username")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("paypal", "PayPaI"), ("paypal", "paypa1"), ("coco", "сосо"), ("exo", "ехо"), ("bob", "b0b"), ("B0B", "bob"),
        ("modern", "modem"), ("ada", "ꓮꓓꓮ"), ("ada", "ᎪᎠᎪ"), ("ana", "ANA"), ("می\u200cخواهم", "میخواهم"), ("Ο", "O"),
        ("علی", "علي"), ("کریم", "كريم"), ("דו", "דן"),
    ],
)  # fmt: skip
def test_names_that_look_alike_are_one(one: str, other: str) -> None:
    assert look(one) == look(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada", "adam"),
        ("anna", "ana"),
        ("ana", "aná"),
        ("Анна", "Алла"),
        ("ben", "ben1"),
        ("u1", "u2"),
        ("محمد", "محمود"),
        ("דוד", "דור"),
    ],
)
def test_names_that_look_different_are_two(one: str, other: str) -> None:
    assert look(one) != look(other)


def test_case_does_not_tell_usernames_apart() -> None:
    assert username_key("Ada") == username_key("ADA")
    assert username_key("Straße") == username_key("STRASSE")
    assert username_key("İstanbul") == username_key(username_key("İstanbul"))


@given(st.text(max_size=20))
def test_username_key_and_look_can_be_made_of_anything(name: str) -> None:
    assert username_key(username_key(name)) == username_key(name)
    assert look(name) == look(name)


@given(st.text(max_size=60) | st.from_regex(r"\A[\w.\-]{1,50}\Z") | st.from_regex(r"\A[aаαoоο0lI1._\-]{1,12}\Z"))
def test_any_text_is_a_username_or_a_named_error(text: str) -> None:
    try:
        name = check_username(text, "username")
    except ValidationFailed as error:
        assert [field.path for field in error.errors] == ["username"]
        error.detail.encode()
    else:
        assert check_username(name, "username") == name
        assert check_known_username(name, "username") == name
        assert len(name) <= 50
        assert any(unicodedata.category(character)[0] == "L" for character in name)
        assert username_key(name) == username_key(text)


@pytest.mark.parametrize("name", ["admin", "123", "аda", "a²", "Ⅳ", "рaypal", "ａ", "रवि", "_"])
def test_names_that_earlier_releases_took_can_be_named(name: str) -> None:
    assert check_known_username(name, "members[0]") == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "\x00", "\ud83d", "x" * 51, "x" * 1_000_000, "👍"])
def test_names_that_nobody_ever_had_cannot(name: str) -> None:
    with pytest.raises(ValidationFailed):
        check_known_username(name, "members[0]")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("Team", "Team"),
        (" Team \n", "Team"),
        ("a\u00a0\u2003b", "a b"),
        ("Cafe\u0301", "Café"),
        ("Team™ ① ½", "Team™ ① ½"),
        ("Sushi · Friday", "Sushi · Friday"),
        ("Ana’s iPhone", "Ana’s iPhone"),
        ("नमस्ते", "नमस्ते"),
        ("שלום ג׳", "שלום ג׳"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("Family 👨\u200d👩\u200d👧", "Family 👨\u200d👩\u200d👧"),
        ("❤\ufe0f", "❤\ufe0f"),
        ("❤", "❤"),
        ("🇩🇪 trip", "🇩🇪 trip"),
        ("1\ufe0f\u20e3", "1\ufe0f\u20e3"),
        ("👍🏽👍", "👍🏽👍"),
        (".", "."),
        ("?!", "?!"),
        ("x" * 100, "x" * 100),
        ("e\u0301" * 100, "é" * 100),
        ("adа and ada", "adа and ada"),
        ("3", "3"),
        ("أهلاً وسهــلاً", "أهلاً وسهــلاً"),
        ("ᄒᆞᆫ글", "ᄒᆞᆫ글"),
        ("〻 いろ〱", "〻 いろ〱"),
    ],
)
def test_names_of_groups_and_devices(text: str, stored: str) -> None:
    assert check_name(text, "group_name") == stored
    assert check_name(stored, "group_name") == stored


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "\u200b",
        "\u200b" * 3,
        "\u3164",
        "\u115f",
        "\u115f\u1160",
        "ᄒ\u1160",
        "\uffa0",
        "\u2800",
        "\u2800 \u2800",
        "\ufeff",
        "\u00ad",
        "\u0301",
        "\u2060",
        "\ufe0f",
        "\u200d",
        "\U000e0020",
        "\u180e",
        "\U0001d159",
        "a\nb",
        "a\tb",
        "a\x00b",
        "a\x1b[0m",
        "a\x85b",
        "a\u2028b",
        "a\u202eb",
        "\u202dabc",
        "a\u2066b\u2069",
        "a\u200eb",
        "a\u200bb",
        "a\ud83d",
        "\ue000",
        "\uffff",
        "z\u0316\u0317\u0318\u0319\u0320",
        "x" * 101,
        "x" * 1_000_000,
        "\u0344" * 1_000_000,
        "👍\u200d\u200d",
    ],
)
def test_invisible_and_turning_names_are_refused(text: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_name(text, "group_name")
    assert [error.path for error in caught.value.errors] == ["group_name"]


@given(st.text(max_size=120) | st.lists(st.sampled_from("a é\u0301\u200b👍\u200d\ufe0f\u202e·")).map("".join))
def test_any_text_is_a_name_that_can_be_seen_or_a_named_error(text: str) -> None:
    try:
        name = check_name(text, "device_name")
    except ValidationFailed as error:
        assert [field.path for field in error.errors] == ["device_name"]
    else:
        assert check_name(name, "device_name") == name
        assert {unicodedata.category(character) for character in name}.isdisjoint({"Cc", "Cs", "Co", "Zl", "Zp"})
        assert not set(name) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u200b")
