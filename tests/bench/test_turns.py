"""Subjects are loaded in turns, and a row has the medians of its turns."""

from __future__ import annotations

from bench.turns import Turns, medians


def test_all_have_their_turn_before_the_first_one_has_its_next_and_the_order_changes() -> None:
    seen: list[str] = []

    def load(subject: str) -> dict[str, object]:
        seen.append(subject)
        return {"subject": subject, "us": len(seen)}

    turns = Turns(["old", "new"])
    for _ in range(2):
        turns.each("cost", load)
    assert seen == ["old", "new", "new", "old"]
    assert turns.parts() == {"cost": [{"subject": "old", "us": 2}, {"subject": "new", "us": 2}]}


def test_one_that_fails_has_no_more_turns_and_the_others_go_on() -> None:
    def load(subject: str) -> dict[str, object]:
        if subject == "old":
            raise TimeoutError("no answer")
        return {"subject": subject}

    turns = Turns(["old", "new"])
    turns.each("cost", load)
    turns.each("most", load)
    assert turns.failed == {"old": "TimeoutError: no answer"}
    assert turns.parts() == {"cost": [{"subject": "new"}], "most": [{"subject": "new"}]}


def test_a_part_that_is_not_for_a_subject_has_no_row_of_it() -> None:
    turns = Turns([1, 2])
    turns.each("half", lambda servers: {"servers": servers} if servers == 1 else None)
    assert turns.parts() == {"half": [{"servers": 1}]}


def test_medians_are_of_each_figure_and_one_bad_turn_does_not_count() -> None:
    turns = [
        {"bus": "Valkey", "servers": 4, "ms": {"p50": p50, "p99": p99}}
        for p50, p99 in ((1.5, 9.0), (90.0, 9.5), (1.0, 8.0))
    ]
    assert medians(turns) == {"bus": "Valkey", "servers": 4, "ms": {"p50": 1.5, "p99": 9.0}}
