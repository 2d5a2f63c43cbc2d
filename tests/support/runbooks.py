"""The runbooks as data: severity, component, sections, and the commands of each page. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FOLDER = ROOT / "docs" / "runbooks"
INDEX = FOLDER / "README.md"

READ, CHANGE, QUERY = "sh", "sh mitigation", "promql"
"""Kinds of blocks: commands that only read and succeed in a healthy chat, commands that change something, PromQL."""

COMPONENTS = {
    "chat": "The chat as a whole",
    "database": "PostgreSQL",
    "backup": "Backups",
    "ingress": "HAProxy and its certificate",
    "chatserver": "Chatservers",
    "operator": "The operator, and changes that it applies",
}
"""In the order of the index, each with its heading."""

_BLOCK = re.compile(r"^```([a-z ]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SECTION = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_HEAD = re.compile(r"^Severity: (.+); component: ([a-z]+)\.$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"^[A-Z_]+=")
_EXAMPLE_POD = re.compile(r"\bPOD=demo-(chatserver|ingress)-\S+")


@dataclass(frozen=True)
class Runbook:
    """One page.

    Attributes:
        name: The alert's.
        text: All of it.
    """

    name: str
    text: str

    @property
    def severity(self) -> str:
        """As the page has it, such as `page (within 2 days) and ticket (within 14 days)`."""
        return self._head()[1]

    @property
    def severities(self) -> set[str]:
        """`page`, `ticket`, or both; or `info`."""
        return set(re.findall(r"\b(page|ticket|info)\b", self.severity))

    @property
    def component(self) -> str:
        """One of COMPONENTS."""
        return self._head()[2]

    def sections(self) -> dict[str, str]:
        """Their texts by heading, in the order of the page."""
        return {heading: text.strip() for heading, text in _SECTION.findall(self.text)}

    def blocks(self, *kinds: str) -> list[str]:
        """The contents of the blocks of these kinds, in the order of the page."""
        return [text for kind, text in _BLOCK.findall(self.text) if kind in kinds]

    def scripts(self, kind: str) -> Iterator[str]:
        """Each block of a kind as a script that runs alone: after the variables that the page sets before it."""
        variables: list[str] = []
        for found, text in _BLOCK.findall(self.text):
            lines = text.splitlines()
            commands = [line for line in lines if not _ASSIGNMENT.match(line)]
            if found == READ:
                variables += [line for line in lines if _ASSIGNMENT.match(line)]
            if found == kind and commands:
                yield "\n".join([*variables, *commands]) + "\n"

    def _head(self) -> re.Match[str]:
        found = _HEAD.search(self.text)
        assert found, f"{self.name}: the line after the title is `Severity: ...; component: ...`"
        return found


def with_pods(script: str, pods: Mapping[str, str]) -> str:
    """A script with pods that exist, by their component, in the place of the examples that its page has."""
    return _EXAMPLE_POD.sub(lambda found: f"POD={pods[found[1]]}", script)


def pages() -> list[Path]:
    """All pages but the index."""
    return sorted(path for path in FOLDER.glob("*.md") if path != INDEX)


def runbooks() -> list[Runbook]:
    """All runbooks, by name."""
    return [Runbook(path.stem, path.read_text()) for path in pages()]


def index(books: Iterable[Runbook]) -> str:
    """The tables of the index: a part for each component, pages first."""
    listed = sorted(books, key=lambda book: ("page" not in book.severities, book.name))
    parts = []
    for component, heading in COMPONENTS.items():
        rows = [
            f"| [{book.name}]({book.name}.md) | {book.severity} | {_first_sentence(book)} |"
            for book in listed
            if book.component == component
        ]
        parts.append("\n".join([f"## {heading}\n", "| alert | severity | meaning |", "| --- | --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def _first_sentence(book: Runbook) -> str:
    return book.sections()["Meaning"].splitlines()[0]
