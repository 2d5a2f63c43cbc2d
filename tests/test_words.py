"""Pages use the terms of CONTRIBUTING.md's glossary, and none of this project's private words for the same things."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent


class Rule(NamedTuple):
    """One term to avoid.

    Attributes:
        pattern: a regular expression, without regard to case.
        instead: what to write.
        example: a text that the rule finds.
    """

    pattern: str
    instead: str
    example: str


RULES = (
    Rule(r"\b(tells?|told|telling)\b(?! apart)", "report, show, notify, configure, instruct", "the condition tells it"),
    Rule(r"\basked\b", "requested, probed, moved", "the server is asked"),
    Rule(r"\b(what|as|than) (the|its) spec asks?\b", "requires", "as the spec asks"),
    Rule(r"\b(is|are|was|were|be|being) away\b", "unavailable", "the database is away"),
    Rule(r"\bturn(s|ed)? away\b", "reject", "a request that is turned away"),
    Rule(r"\b(certificate|lease|code|session)s? (that )?ends?\b", "expires", "the certificate ends on Friday"),
    Rule(r"\b(s|seconds|hours|days) before (its|their) end\b", "before it expires", "30 days before its end"),
    Rule(r"\bpeople('s)?\b", "users, clients, members", "real people"),
    Rule(r"\bprocessors?\b", "CPU", "69 s of processor"),
    Rule(r"\bown affair\b|\b(is|are) \w+('s|s') affair\b", "name who decides", "absent: its own affair"),
    Rule(
        r"\b(in|has|have|with|are|were) (its|their|the|\w+'s)?\s?words\b", "quotes the error, explains", "has its words"
    ),
    Rule(r"\bby (itself|themselves)\b", "automatically", "tried again by itself"),
    Rule(r"\b(crowds?|herds?)\b", "reconnect storm, many clients at once", "more than a little is a crowd"),
    Rule(r"\b(wish|wishes|wished)\b", "desired", "the highest wish"),
    Rule(r"\b(all|the|is|are|as|servers) wanted\b", "desired", "all wanted pods"),
    Rule(r"\bnews\b", "events, notifications", "news from other servers"),
    Rule(r"\banew\b", "again; make anew: recreate", "the claim is made anew"),
    Rule(r"\b(go|goes|went|going|gone) on\b(?! to )", "continue, keep running", "what runs goes on"),
    Rule(r"\bput(s|ting)? (back|right)\b", "restore, revert", "put back what it said"),
    Rule(r"\b(a|as a) story\b", "a summary", "tells it as a story"),
    Rule(r"\bfor those who\b", "say what the page is about", "for those who run it"),
    Rule(r"\bnonsense\b", "invalid input", "nonsense is refused"),
    Rule(r"\b(mend|mends|mended|mending)\b", "fix, repair", "the fault is mended"),
    Rule(r"\b(heal|heals|healed)\b", "recover", "clients heal themselves"),
    Rule(r"\bkept from\b", "cannot, has no access to", "what it is kept from"),
    Rule(r"\bstands? back\b", "stands by", "the other stands back"),
    Rule(r"\b(have|has|had) (got )?taken it on\b", "accepted", "no Gateway has taken it on"),
    Rule(r"\bhow (it|they) stands?\b", "its status", "how it stands with that"),
    Rule(r"\bever (more|less) (seldom|often)\b", "with growing delays", "ever more seldom"),
    Rule(r"\b(thief|thieves)\b", "attacker", "left to a thief"),
)

ALLOWED: dict[str, dict[str, str]] = {}
"""By file, the texts in which a term is the right one, each with its reason: `{"docs/x.md": {"text": "reason"}}`."""

NOT_COVERED = (
    "CHANGELOG.md",
    # Written by `make bench`.
    "docs/benchmarks/latest.md",
    # Made from the descriptions in the CRD.
    "docs/reference/",
)
"""Paths, or beginnings of paths, of pages that still have such terms. It only ever gets shorter."""

SECOND_SENTENCE = re.compile(r"[a-z)](?<!e\.g)(?<!i\.e)[.?!] [A-Z]")


def prose(text: str) -> str:
    """A page without its code, its links' targets and its commands; lines stay where they are."""
    for pattern in (r"^( *)```.*?^ *```", r"`[^`]*`", r"\]\([^)\s]*\)"):
        text = re.sub(pattern, lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
    return text


def complaints(text: str) -> list[str]:
    """Each term to avoid, as `line: the term: what to write instead`."""
    return [
        f"{number}: {found[0]!r}: write {rule.instead}"
        for number, line in enumerate(prose(text).splitlines(), start=1)
        for rule in RULES
        for found in re.finditer(rule.pattern, line, re.IGNORECASE)
    ]


def crowded(text: str) -> list[str]:
    """Lines with more than one sentence; tables, headings, quotations and a decision's summary may have several."""
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#", "In short: "))]
    return [line for line in lines if SECOND_SENTENCE.search(re.sub(r'"[^"]*"', "", line))]


def pages() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for path in listed.stdout.splitlines() if not path.startswith(NOT_COVERED)]


@pytest.mark.parametrize("path", pages())
def test_a_page_uses_the_terms_of_the_glossary(path: str) -> None:
    text = (ROOT / path).read_text()
    for allowed in ALLOWED.get(path, {}):
        assert allowed in text, f"no longer in {path}: remove it from ALLOWED"
        text = text.replace(allowed, "")
    assert complaints(text) == []


@pytest.mark.parametrize("path", pages())
def test_a_page_has_one_sentence_a_line(path: str) -> None:
    assert crowded(prose((ROOT / path).read_text())) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.pattern)
def test_each_rule_finds_its_example_and_not_its_remedy(rule: Rule) -> None:
    assert any(rule.instead in complaint for complaint in complaints(rule.example))


def test_code_is_not_prose() -> None:
    assert complaints("`told` [x](../away.md)\n```\npeople\n```\n  ```sh\n  asked\n  ```\n") == []
    assert complaints("`told\ntold`\nthe people") == ["3: 'people': write users, clients, members"]


def test_two_sentences_in_a_line_are_found() -> None:
    assert crowded("A sentence. Another one.") == ["A sentence. Another one."]
    assert crowded('One sentence: "A quotation. Its end."\n| a cell. Another | e.g. Helm |\nSee e.g. Helm 3.14.') == []
