"""The table of who sees what, as a pure function: every datum for every viewer."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from msgspec.structs import replace

from chatserver.visibility import RULES, SELF, STRANGER, Audience, Datum, Privacy, Relation, crosses_block, may_see

VIEWERS = {
    "self": SELF,
    "shares": Relation(shares_chat=True, former=True),
    "former": Relation(former=True),
    "blocked": Relation(shares_chat=True, former=True, is_blocked=True),
    "blocker": Relation(shares_chat=True, former=True, blocks=True),
    "stranger": STRANGER,
    "number": Relation(found_by="number"),
    "name": Relation(found_by="name"),
}
# A block alone brings nobody nearer: whoever blocks strangers, one id after the other, sees nothing of them.
NOTHING = (Relation(blocks=True), Relation(is_blocked=True), Relation(blocks=True, is_blocked=True))
MATRIX = """
datum             self shares former blocked blocker stranger number name
name              yes  yes    yes    yes     yes     no       yes    yes
number            yes  no     no     no      no      no       yes    no
number_as_name    yes  yes    no     yes     yes     no       yes    no
picture           yes  yes    no     no      yes     no       yes    yes
about             yes  yes    no     no      yes     no       yes    yes
created_at        yes  yes    yes    yes     yes     no       yes    yes
online            yes  yes    no     no      no      no       no     no
last_seen         yes  yes    no     no      no      no       no     no
profile_changes   yes  yes    no     no      no      no       no     no
typing            yes  yes    no     no      no      no       no     no
receipts          yes  yes    no     no      no      no       no     no
"""
LINES = [re.split(" +", line) for line in MATRIX.strip().splitlines()]
TABLE = {datum: dict(zip(LINES[0][1:], cells, strict=True)) for datum, *cells in LINES[1:]}


def test_every_datum_has_a_rule_and_a_row() -> None:
    assert set(get_args(Datum)) == set(RULES) == set(TABLE)


@pytest.mark.parametrize("datum", get_args(Datum))
def test_a_datum_is_seen_by_whom_the_table_names(datum: Datum) -> None:
    seen = {viewer: "yes" if may_see(datum, relation) else "no" for viewer, relation in VIEWERS.items()}
    assert seen == TABLE[datum]
    assert not any(may_see(datum, relation) for relation in NOTHING)
    assert crosses_block(datum) == (TABLE[datum]["blocked"] == TABLE[datum]["blocker"] == "yes")


def test_a_block_holds_for_who_asks_by_number() -> None:
    assert not may_see("picture", Relation(found_by="number", is_blocked=True))
    assert may_see("number", Relation(found_by="number", is_blocked=True))


CHOSEN = {"online": "last_seen", "last_seen": "last_seen", "picture": "picture", "about": "about"}


@pytest.mark.parametrize("audience", get_args(Audience))
@pytest.mark.parametrize("datum", get_args(Datum))
def test_a_setting_only_takes_away_and_only_from_its_own_datum(datum: Datum, audience: Audience) -> None:
    for setting in set(Privacy.__struct_fields__) - {"read_receipts"}:
        privacy = replace(Privacy(), **{setting: audience})
        for viewer, relation in VIEWERS.items():
            for is_contact in (False, True):
                told = replace(relation, privacy=privacy, is_contact=is_contact)
                is_taken = CHOSEN.get(datum) == setting and (
                    audience == "nobody" or (audience == "contacts" and not is_contact)
                )
                expected = may_see(datum, relation) and (viewer == "self" or not is_taken)
                assert may_see(datum, told) == expected, (setting, viewer)
