"""Pages and code use the terms of CONTRIBUTING.md's glossary, and none of this project's private words for them."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.sources import python_names, python_prose
from tests.support.words import CODE_RULES, RULES, Rule, complaints, name_complaints, prose

ROOT = Path(__file__).parent.parent

ALLOWED: dict[str, dict[str, str]] = {
    "clients/python/chatcluster_client/live.py": {"reconnects_asked": "an attribute that applications read"},
    "charts/chatcluster-operator/templates/crd.yaml": {"chatcluster.io/begin-anew": "an annotation, whose name stays"},
    "crds/chatcluster.yaml": {"chatcluster.io/begin-anew": "an annotation, whose name stays"},
    "docs/reference/chatcluster.md": {"chatcluster.io/begin-anew": "an annotation, whose name stays"},
    "localcluster/node/Dockerfile": {"sysinit.target.wants": "a folder of systemd"},
    "localcluster/node/rootfs/etc/systemd/system/kubelet.service": {"Wants=": "a setting of systemd"},
    "chatserver/chatserver/users/names.py": {"news": "a reserved username"},
}
"""By file, the texts in which a term is the right one, each with its reason: `{"docs/x.md": {"text": "reason"}}`."""

NOT_COVERED = (
    "CHANGELOG.md",
    # Written by `make bench`.
    "docs/benchmarks/latest.md",
    "docs/benchmarks/servers.md",
    # Applied migrations never change: databases have their checksums.
    "chatserver/chatserver/storage/migrations/",
)
"""Beginnings of paths that keep such terms. It only ever gets shorter."""

CODE = (
    "bench",
    "charts",
    "chatserver",
    "clients",
    "crds",
    "examples",
    "images",
    "kubectl-chatcluster",
    "localcluster",
    "monitoring",
    "operator",
    "release",
    "web",
)
"""Folders whose comments, docstrings, texts and names are checked."""

KINDS = (".py", ".yaml", ".sh", ".js", ".html", ".conf", ".service", "Dockerfile", ".tpl", ".txt", ".toml")

SECOND_SENTENCE = re.compile(r"[a-z)](?<!e\.g)(?<!i\.e)[.?!] [A-Z]")


def crowded(text: str) -> list[str]:
    """Lines with more than one sentence; tables, headings, quotations and a decision's summary may have several."""
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#", "In short: "))]
    return [line for line in lines if SECOND_SENTENCE.search(re.sub(r'"[^"]*"', "", line))]


@functools.cache
def listed(*patterns: str) -> list[str]:
    """Return the tracked files that match, without those that are not covered."""
    output = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for path in output.splitlines() if not path.startswith(NOT_COVERED) and (ROOT / path).exists()]


def sources() -> list[str]:
    return [path for path in listed(*CODE) if path.endswith(KINDS) or "." not in Path(path).name]


def read(path: str) -> str:
    """Return a file's text without what it may keep."""
    text = (ROOT / path).read_text("utf-8")
    for allowed in ALLOWED.get(path, {}):
        assert allowed in text, f"no longer in {path}: remove it from ALLOWED"
        # Not by nothing: the code must still parse.
        text = text.replace(allowed, "x")
    return text


def code_complaints(path: str, text: str) -> list[str]:
    """Return each term to avoid in a source file, by line; of files that are not Python every line is read as prose."""
    if path.endswith(".py") or text.startswith("#!/usr/bin/env python"):
        names = [complaint for found in python_names(text) for complaint in name_complaints(found.text, found.line)]
        pieces = [
            complaint for found in python_prose(text) for complaint in complaints(found.text, CODE_RULES, found.line)
        ]
        return sorted({*names, *pieces}, key=lambda complaint: (int(complaint.partition(":")[0]), complaint))
    return complaints(text.replace("`", "'"), CODE_RULES)


@pytest.mark.parametrize("path", listed("*.md"))
def test_a_page_uses_the_terms_of_the_glossary(path: str) -> None:
    assert complaints(read(path)) == []


@pytest.mark.parametrize("path", listed("*.md"))
def test_a_page_has_one_sentence_a_line(path: str) -> None:
    assert crowded(prose((ROOT / path).read_text())) == []


@pytest.mark.parametrize("folder", sorted({path.rpartition("/")[0] for path in sources()}))
def test_code_uses_the_terms_of_the_glossary(folder: str) -> None:
    found = {path: code_complaints(path, read(path)) for path in sources() if path.rpartition("/")[0] == folder}
    assert {path: complaint for path, complaint in found.items() if complaint} == {}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.pattern)
def test_each_rule_finds_its_example_and_not_its_remedy(rule: Rule) -> None:
    assert any(rule.instead in complaint for complaint in complaints(rule.example))


@pytest.mark.parametrize("rule", CODE_RULES[len(RULES) :], ids=lambda rule: rule.pattern)
def test_each_rule_for_code_finds_its_example(rule: Rule) -> None:
    assert any(rule.instead in complaint for complaint in complaints(rule.example, CODE_RULES))


def glossary() -> list[tuple[str, str]]:
    """Return (term, a term to avoid) of each row of the glossary."""
    rows = [line.split("|") for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("| ")]
    table = rows[rows.index(next(row for row in rows if "do not write" in row[3])) + 2 :]
    return [(row[1].strip(), avoided) for row in table for avoided in re.findall(r"`([^`]+)`", row[3])]


@pytest.mark.parametrize(("term", "avoided"), glossary())
def test_what_the_glossary_avoids_is_on_the_word_list(term: str, avoided: str) -> None:
    assert complaints(avoided, CODE_RULES) or name_complaints(avoided, 1), f"{term}: nothing rejects {avoided!r}"


def test_code_is_not_prose() -> None:
    assert complaints("`told` [x](../away.md)\n```\npeople\n```\n  ```sh\n  asked\n  ```\n") == []
    assert complaints("`told\ntold`\nthe people") == ["3: 'people': write users, clients, members"]


def test_two_sentences_in_a_line_are_found() -> None:
    assert crowded("A sentence. Another one.") == ["A sentence. Another one."]
    assert crowded('One sentence: "A quotation. Its end."\n| a cell. Another | e.g. Helm |\nSee e.g. Helm 3.14.') == []


def test_comments_docstrings_texts_and_names_of_code_are_found() -> None:
    code = '''"""Told of it."""\n\n\ndef still_wished() -> str:\n    return "it goes on"  # anew\n'''
    assert [complaint.partition(": write")[0] for complaint in code_complaints("x.py", code)] == [
        "1: 'Told'",
        "4: still_wished",
        "5: 'anew'",
        "5: 'goes on'",
    ]
    assert code_complaints("x.py", 'KEY = "told"\nQUERY = """WITH asked AS (SELECT 1)\nSELECT * FROM asked"""\n') == []
    assert code_complaints("x.yaml", "a: 1\n# Tells it\n")[0].startswith("2: 'Tells'")


@pytest.mark.parametrize("path", ["chatserver/chatserver/errors.py"])
def test_sources_are_found(path: str) -> None:
    assert path in sources()


@pytest.mark.parametrize("component", ["chatserver/chatserver", "operator/chatoperator"])
def test_a_class_name_means_one_thing(component: str) -> None:
    found: dict[str, list[str]] = {}
    for path in listed(f"{component}/*.py"):
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(path)
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}
