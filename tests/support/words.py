"""The word list: terms to avoid in pages, comments, texts and names, and what to write instead. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple


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
        r"\b(in|has|have|with|are|were) (its|their|the|\w+'s)? ?words\b", "quotes the error, explains", "has its words"
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
    Rule(r"\bhow far \w+ (have|has|had) (got|read|come)\b", "the watermark, the position", "how far they have got"),
    Rule(r"\bsays? of (itself|themselves)\b", "reports", "what it says of itself"),
    Rule(r"\bwhoever may\b", "a tenant, a user with the right to", "whoever may create them"),
    Rule(r"\b(thief|thieves)\b", "attacker", "left to a thief"),
)
"""The list for pages, and for comments and texts of the code."""

CODE_RULES = (
    *RULES,
    Rule(r"\bask(s|ing)?\b", "request, probe, query, check", "whoever asks waits"),
    Rule(r"\baway\b", "unavailable, removed", "the pod goes away"),
    Rule(r"\bwants?\b", "requires, desires", "as many as the spec wants"),
)
"""In code, these too: in pages they are mostly about users, who may ask for and want things."""

NAMES = {
    "affair": "name the subject",
    "anew": "again",
    "ask": "request, probe, query",
    "asked": "requested, probed",
    "asking": "requesting",
    "asks": "requests",
    "away": "unavailable",
    "crowd": "burst",
    "echo": "own_batch, own_write",
    "fact": "input",
    "facts": "inputs",
    "heal": "recover",
    "herd": "burst",
    "mend": "fix",
    "news": "events, changes",
    "nonsense": "invalid",
    "people": "users",
    "processor": "cpu",
    "story": "summary",
    "tell": "report, record, notify",
    "telling": "reporting",
    "tells": "reports",
    "thief": "attacker",
    "told": "reported, seen",
    "wanted": "desired",
    "wish": "desired",
    "wished": "desired",
    "wishes": "desired",
}
"""Words that no name in the code contains, and what to use instead."""


def prose(text: str) -> str:
    """Return a page without its code, the targets of its links and its commands; lines keep their numbers."""
    for pattern in (r"^( *)```.*?^ *```", r"``[^`]*``", r"`[^`]*`", r"\]\([^)\s]*\)"):
        text = re.sub(pattern, lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
    return text


def complaints(text: str, rules: tuple[Rule, ...] = RULES, first_line: int = 1) -> list[str]:
    """Return each term to avoid as ``line: 'the term': write what instead``."""
    body = prose(text)
    found = [
        (first_line + body.count("\n", 0, one.start()), place, one)
        for place, rule in enumerate(rules)
        # The whole text at once: line by line takes three times as long.
        for one in re.finditer(rule.pattern, body, re.IGNORECASE)
    ]
    return [
        f"{line}: {one[0]!r}: write {rules[place].instead}"
        for line, place, one in sorted(found, key=lambda hit: hit[:2])
    ]


def words_of(name: str) -> list[str]:
    """Return the words of an identifier, in lower case.

    Example:
        >>> words_of("_is_HTTPServer2")
        ['is', 'http', 'server']
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def name_complaints(name: str, line: int) -> list[str]:
    """Return each word to avoid in an identifier, as `complaints` does."""
    return [f"{line}: {name}: write {NAMES[word]}" for word in words_of(name) if word in NAMES]
