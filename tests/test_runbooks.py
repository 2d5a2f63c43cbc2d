"""Each alert has a runbook, and what the runbooks name exists: metrics, conditions, fields, log events, other pages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chatoperator.conditions import TYPES
from crds.metrics import sample_names
from monitoring.rules import ALERTS
from tests.support import promql
from tests.support.cluster import ROOT
from tests.support.runbooks import CHANGE, COMPONENTS, INDEX, QUERY, READ, Runbook, index, runbooks, with_pods

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BOOKS = runbooks()
CRD = yaml.load((ROOT / "crds" / "chatcluster.yaml").read_text(), yaml.CSafeLoader)
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
VALUES = yaml.load((ROOT / "charts" / "chatcluster-operator" / "values.yaml").read_text(), yaml.CSafeLoader)

SECTIONS = (
    ["Meaning", "Impact", "Diagnosis", "Mitigation"],
    ["Meaning", "Impact", "Causes", "Diagnosis", "Mitigation"],
)

OF_KUBERNETES = {"FailedCreate", "ImagePullBackOff", "NotReady", "OOMKilled"}
"""Reasons and states that are not the operator's."""

READING = re.compile(
    r"""^(?:
        kubectl\ (?:get|describe|logs|api-resources|auth\ can-i)\b
        | kubectl\ chatcluster\ (?:status|connections|logs)\b
        | kubectl\ exec\ .*--\ (?:df|du|cat)\ [^|>]*$
        | kubectl\ exec\ .*--\ psql\ -U\ postgres\ chat\ -c\ "(?:SELECT|SHOW)\ [^;]*"$
        | kubectl\ exec\ .*--\ pg_dump\ .*--file=/dev/null\ chat$
        | (?:curl\ -sk|date\ -u)\b
        | [A-Z_]+=
    )""",
    re.VERBOSE,
)
"""Commands that change nothing."""

FILTERS = re.compile(r"^(?:jq|grep|tail|head|sort|uniq|sed -n|base64 -d|openssl x509|true)\b")
"""What may follow a pipe or `||`."""


def book(name: str) -> Runbook:
    return next(one for one in BOOKS if one.name == name)


def commands(block: str) -> Iterator[str]:
    """Each command of a block in one line."""
    return (line.strip() for line in re.sub(r"(\\|\|)\n\s*", r"\1 ", block).replace("\\ ", "").splitlines())


def outside_quotes(command: str) -> list[str]:
    """A command's parts between pipes and `||`, of which those in quotes are none."""
    pieces = re.findall(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^'"|\\])+""", command)
    return [piece.strip() for piece in pieces if piece.strip()]


def names(text: str) -> set[str]:
    """What a page has in backticks, without its blocks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)))


def fields(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Paths of all fields below a schema, such as `ingress.limits.connectionsPerIP`; of maps with `cpu`, `memory`."""
    for name, below in schema.get("properties", {}).items():
        yield f"{path}{name}"
        if "additionalProperties" in below:
            yield from (f"{path}{name}.{key}" for key in ("cpu", "memory"))
        yield from fields(below, f"{path}{name}.")
        yield from fields(below.get("items", {}), f"{path}{name}[].")


def enums(schema: Mapping[str, Any]) -> Iterator[str]:
    """All values that fields below a schema enumerate."""
    yield from schema.get("enum", ())
    for below in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else ())):
        yield from enums(below)


def chart_values(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, below in values.items():
        yield f"{path}{name}"
        if isinstance(below, dict):
            yield from chart_values(below, f"{path}{name}.")


def test_each_alert_has_a_page_of_its_severity_and_each_page_an_alert() -> None:
    severities: dict[str, set[str]] = {}
    for alert in ALERTS:
        severities.setdefault(alert.name, set()).add(alert.severity.value)
    assert {one.name: one.severities for one in BOOKS} == severities


@pytest.mark.parametrize("one", BOOKS, ids=lambda one: one.name)
def test_a_page_has_its_parts(one: Runbook) -> None:
    assert one.text.startswith(f"# {one.name}\n")
    assert list(one.sections()) in SECTIONS
    assert one.component in COMPONENTS
    assert all(one.sections().values())
    assert READ in one.sections()["Diagnosis"] or QUERY in one.sections()["Diagnosis"]


def test_the_index_lists_the_pages() -> None:
    made = index(BOOKS)
    head, _, _ = INDEX.read_text().partition(f"## {next(iter(COMPONENTS.values()))}\n")
    assert INDEX.read_text() == head + made, f"write this below the introduction of {INDEX.name}:\n{made}"


@pytest.mark.parametrize("one", BOOKS, ids=lambda one: one.name)
def test_the_commands_of_a_page_are_shell_and_use_the_variables_that_it_sets(one: Runbook) -> None:
    for kind in (READ, CHANGE):
        for script in one.scripts(kind):
            done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            used = set(re.findall(r"\$\{?([A-Z_]+)", re.sub(r"'[^']*'", "", script)))
            assert used <= set(re.findall(r"(?:^| )([A-Z_]+)=", script, re.MULTILINE)), script


@pytest.mark.parametrize("one", BOOKS, ids=lambda one: one.name)
def test_a_page_acts_on_the_pod_of_the_alert_and_not_on_any(one: Runbook) -> None:
    assert not re.search(r"\.items\[-?\d", one.text), "the first of several pods is rarely the one with the fault"
    named = {
        "pod" in labels.split(", ")
        for alert in ALERTS
        if alert.name == one.name
        for labels in re.findall(r"\bby \(([^)]*)\)", alert.expr)
    }
    if named == {True} and "$POD" in one.text:
        assert "the labels `namespace`, `chatcluster` and `pod` of the alert" in one.text
    elif "$POD" in one.text:
        assert "`pod` of the alert" not in one.text, "this alert has no such label"


def test_a_script_gets_pods_that_exist_for_the_examples_of_its_page() -> None:
    pods = {"chatserver": "demo-chatserver-1-a", "ingress": "demo-ingress-1-b"}
    scripts = [with_pods(script, pods) for one in BOOKS for kind in (READ, CHANGE) for script in one.scripts(kind)]
    assert {pod for script in scripts for pod in re.findall(r"\bPOD=(\S+)", script)} == set(pods.values())


@pytest.mark.parametrize("one", BOOKS, ids=lambda one: one.name)
def test_cpu_throttling_is_read_from_both_versions_of_cgroups(one: Runbook) -> None:
    for line in one.text.splitlines():
        if "/sys/fs/cgroup/" in line:
            assert {"/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"} <= set(line.split())


@pytest.mark.parametrize("one", BOOKS, ids=lambda one: one.name)
def test_diagnosis_only_reads(one: Runbook) -> None:
    for block in one.blocks(READ):
        for command in commands(block):
            first, *filters = outside_quotes(command)
            assert READING.match(first), f"marked as reading: {command}"
            assert all(FILTERS.match(piece) for piece in filters), command


@pytest.mark.parametrize("one", BOOKS, ids=lambda one: one.name)
def test_what_changes_something_is_preceded_by_its_risk(one: Runbook) -> None:
    before = re.split(rf"^```{CHANGE}\n.*?^```$", one.text, flags=re.DOTALL | re.MULTILINE)[:-1]
    for text in before:
        if text.strip():
            assert "Risk" in text.rpartition("\n\n1. ")[2] or "Risk" in text, text[-300:]


QUERIES = [query for one in BOOKS for query in one.blocks(QUERY)]


@pytest.mark.skipif(
    shutil.which("promtool") is None and not os.environ.get("CI"),
    reason="no promtool here: .ci/install installs it, with Debian's package prometheus",
)
def test_promtool_accepts_each_query() -> None:
    assert promql.faults(QUERIES) == ""


def test_each_query_names_metrics_that_exist() -> None:
    known = sample_names() | promql.OTHERS
    assert {name for query in QUERIES for name in promql.metrics(query) - known} == set()


@pytest.mark.parametrize("one", BOOKS, ids=lambda one: one.name)
def test_conditions_reasons_and_alerts_that_a_page_names_exist(one: Runbook) -> None:
    known = {kind.name for kind in TYPES} | {reason.name for kind in TYPES for reason in kind.reasons}
    known |= set(enums(SCHEMA["spec"]))
    camel = {name for name in names(one.text) if re.fullmatch(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+", name)}
    assert camel <= known | OF_KUBERNETES | {other.name for other in BOOKS}
    queried = set(re.findall(r'(?:type|reason)="([A-Z]\w+)"', "\n".join(one.blocks(QUERY))))
    assert queried <= known


@pytest.mark.parametrize("one", BOOKS, ids=lambda one: one.name)
def test_fields_that_a_page_names_exist(one: Runbook) -> None:
    spec = set(fields(SCHEMA["spec"]))
    known = spec | {f"spec.{path}" for path in spec} | {f"status.{path}" for path in fields(SCHEMA["status"])}
    known |= set(chart_values(VALUES))
    roots = {path.partition(".")[0] for path in known}
    dotted = {name for name in names(one.text) if re.fullmatch(r"[a-z]\w*(\.\w+)+", name)}
    named = {name for name in dotted if name.partition(".")[0] in roots}
    assert named <= known
    paths = re.findall(r"\{\.((?:spec|status)\.[\w.]+\w)", "\n".join(c for b in one.blocks(READ) for c in chats(b)))
    assert set(paths) <= known


def chats(block: str) -> list[str]:
    """Commands of a block that read the ChatCluster."""
    return [command for command in commands(block) if command.startswith("kubectl get chatcluster ")]


def test_log_events_that_pages_filter_by_are_logged() -> None:
    code = "".join(path.read_text() for path in (ROOT / "chatserver" / "chatserver").rglob("*.py"))
    for one in BOOKS:
        for block in one.blocks(READ):
            for listed in re.findall(r'\.event (?:== ("\w+")|\| IN\(([^)]+)\))', block):
                for event in re.findall(r'"\w+"', "".join(listed)):
                    assert event in code, f"{one.name}: no server logs {event}"


def test_a_command_that_writes_is_found() -> None:
    for command in (
        "kubectl delete pod x",
        'kubectl exec x -- psql -U postgres chat -c "DELETE FROM messages"',
        "rm x",
    ):
        assert not READING.match(command)
    assert outside_quotes("""kubectl get x -o jsonpath='{a|b}' | jq -c "x | y" || true""") == [
        "kubectl get x -o jsonpath='{a|b}'",
        'jq -c "x | y"',
        "true",
    ]
