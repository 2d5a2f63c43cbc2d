import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chatoperator import metadata
from kubectl_chatcluster import logs, names
from kubectl_chatcluster.__main__ import kubectl_flags, parser
from kubectl_chatcluster.drain import checked
from kubectl_chatcluster.errors import NotAServer
from kubectl_chatcluster.kubectl import translate
from tests.kubectl_chatcluster.objects import pod
from tests.support.completeness import objects, templates

FORBIDDEN = "Error from server (Forbidden)"


def test_kubectls_own_flags_are_passed_on() -> None:
    parsed = parser().parse_args(
        ["status", "demo", "-n", "chat", "--context", "staging", "--as=ana", "--as-group", "a", "--as-group", "b"]
    )
    assert parsed.name == "demo"
    assert kubectl_flags(parsed) == [
        "--namespace=chat",
        "--context=staging",
        "--as=ana",
        "--as-group=a",
        "--as-group=b",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["drain"],
        ["drain", "a", "--timeout", "soon"],
        ["logs", "--since", "1 day"],
        ["logs", "--component", "x"],
    ],
)
def test_misuse_is_told_with_exit_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    assert ended.value.code == 2
    assert "usage: kubectl chatcluster" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2m", 120), ("1h30m", 5400), ("1.5s", 1.5)])
def test_a_timeout_is_a_duration_as_kubectl_has_them(text: str, seconds: float) -> None:
    assert parser().parse_args(["drain", "a", "--timeout", text]).timeout == seconds


@pytest.mark.parametrize(
    ("stderr", "reason", "words"),
    [
        ('Error from server (NotFound): pods "a" not found\n', "NotFound", 'pods "a" not found'),
        (
            f'{FORBIDDEN}: User "ana" cannot list resource "pods" in API group "" in the namespace "chat"',
            "Forbidden",
            "you are not allowed to list pods in namespace chat: request a role with that verb",
        ),
        (
            f'{FORBIDDEN}: User "ana" cannot list resource "deployments" in API group "apps" at the cluster scope',
            "Forbidden",
            "you are not allowed to list deployments.apps in the whole cluster: request a role with that verb",
        ),
        (
            'error: the server doesn\'t have a resource type "chatclusters"',
            "NoSuchType",
            "Check that the operator and its CRD are installed in this cluster",
        ),
        ("The connection to the server localhost:8080 was refused", "", "was refused"),
    ],
)
def test_errors_name_what_is_missing(stderr: str, reason: str, words: str) -> None:
    error = translate(stderr)
    assert error.reason == reason
    assert words in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (pod("demo-ingress-a", "ingress"), "belongs to the ingress of ChatCluster demo"),
        (pod("x", "y", metadata={"labels": {}}), "does not belong to a ChatCluster"),
        (
            pod("x", "y", metadata={"labels": {"app.kubernetes.io/component": "chatserver"}}),
            "does not belong to a ChatCluster",
        ),
    ],
)
def test_only_chatservers_can_be_drained(body: dict[str, Any], words: str) -> None:
    with pytest.raises(NotAServer, match=words):
        checked(body)


def test_logs_are_merged_by_time_and_keep_each_pods_order() -> None:
    one = logs.split("2026-11-22T12:00:01.5Z a\n2026-11-22T12:00:03Z c\nmore of c\n", "chatserver", "s")
    two = logs.split("2026-11-22T12:00:02.123456789Z b\n", "ingress", "i")
    assert [line.text for line in logs.merge([one, two])] == ["a", "b", "c", "more of c"]


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ('{"event": "stored", "level": "info", "server": "s", "n": 3, "why": "a b"}', 'info    stored n=3 why="a b"'),
        ("plain words", "plain words"),
        ("[1, 2]", "[1, 2]"),
        ("\x1b[2Jgone", "�[2Jgone"),
        ('{"event": "\\u001b[2J", "level": "error"}', "error   �[2J"),
    ],
)
def test_a_line_is_readable_and_moves_no_cursor(text: str, readable: str) -> None:
    (line,) = logs.split(f"2026-11-22T12:00:01.5Z {text}", "chatserver", "s")
    assert logs.readable(line) == f"11-22 12:00:01.500 s {readable}"


def test_names_are_the_operators() -> None:
    assert f"chatclusters.{metadata.GROUP}" == names.RESOURCE
    assert names.INSTANCE_LABEL == metadata.INSTANCE_LABEL
    assert names.COMPONENT_LABEL == metadata.COMPONENT_LABEL
    assert names.instance_selector("demo") == metadata.instance_selector("demo")
    assert names.claim_name("demo") == metadata.claim_name("demo")
    for part in names.PARTS:
        assert names.part_name("demo", part) == metadata.part_name("demo", part)  # type: ignore[arg-type]


def test_parts_are_those_that_have_pods() -> None:
    assert set(names.PARTS) == templates(objects()).keys()


def test_the_command_lies_where_kubectl_finds_it() -> None:
    program = Path(sys.executable).parent / "kubectl-chatcluster"
    assert os.access(program, os.X_OK)
    printed = subprocess.run([program, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert printed.startswith("usage: kubectl chatcluster")


def test_without_kubectl_the_remedy_is_named(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "kubectl-chatcluster"
    done = subprocess.run(
        [program, "status"], capture_output=True, text=True, check=False, timeout=60, env={"PATH": str(tmp_path)}
    )
    assert shutil.which("kubectl", path=str(tmp_path)) is None
    assert done.returncode == 1
    assert done.stderr.startswith("kubectl chatcluster: kubectl is not on the PATH; install it")
