"""What the documents point to is there, and what is made from the code is up to date."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from crds import reference

ROOT = Path(__file__).parent.parent

LINK = re.compile(r"\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / line for line in listed.stdout.splitlines()]


def links(page: Path) -> list[str]:
    """Targets of a page's relative links; code is no link."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    return [link for link in LINK.findall(text) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """What headings of a page can be linked as, by GitHub's rule; a comment in code is no heading."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    found = [(page, link) for page in pages() for link in links(page)]
    assert len(found) > 20
    broken = []
    for page, link in found:
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken


def test_every_page_for_admins_is_in_the_table_of_contents() -> None:
    folder = ROOT / "docs" / "operations"
    listed = set(links(folder / "README.md"))
    assert {page.name for page in folder.glob("*.md")} - {"README.md"} <= listed


def test_the_reference_page_is_what_make_docs_makes() -> None:
    made = reference.render(yaml.load(reference.SOURCE.read_text(), yaml.CSafeLoader))
    assert reference.PAGE.read_text() == made, "the CRD has changed: run `make docs`"


@pytest.mark.parametrize("field", ["spec.database.storage.size", "spec.networkPolicies.metricsFrom[].ipBlock.cidr"])
def test_the_reference_page_has_nested_fields(field: str) -> None:
    parent, _, name = field.rpartition(".")
    section = reference.PAGE.read_text().partition(f"\n## {parent}\n")[2].partition("\n## ")[0]
    assert f"\n| `{name}` | string |" in section
