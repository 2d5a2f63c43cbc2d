"""No output of any command can move the reader's cursor, forge a line or turn its direction."""

import datetime as dt
import io
import json
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubectl_chatcluster import __main__ as command
from kubectl_chatcluster import kubectl, terminal
from kubectl_chatcluster.errors import KubectlError
from tests.kubectl_chatcluster.objects import ago, chatcluster, pod

HOSTILE = st.text(
    st.one_of(
        st.sampled_from(["\x1b[2J", "\x1b]0;x\x07", "\n", "\r", "\x9b", "\u202e", "\u2028", "\x08", "\x00", "\x7f"]),
        st.characters(codec="utf-8"),
    ).map(lambda part: part[:1])
    | st.just("\x1b"),
    min_size=1,
)


def planted(found: Any, text: str) -> Any:
    """An object of the API server with text after each of its strings, but for what the plugin goes by."""
    if isinstance(found, dict):
        return {key: inner if key in KEPT else planted(inner, text) for key, inner in found.items()}
    if isinstance(found, list):
        return [planted(inner, text) for inner in found]
    return found + text if isinstance(found, str) else found


KEPT = frozenset(
    {"kind", "apiVersion", "creationTimestamp", "lastTransitionTime", "lastTimestamp", "labels", "namespace", "name"}
)
"""What Kubernetes itself has checked."""


class Answers:
    """Stands for kubectl: every answer has the hostile text in it."""

    def __init__(self, text: str) -> None:
        event = {
            "metadata": {"name": "e", "creationTimestamp": ago(5)},
            "type": "Warning",
            "reason": "Failed",
            "message": "no",
            "lastTimestamp": ago(5),
            "count": 2,
            "involvedObject": {"kind": "Pod", "name": "demo-chatserver-a"},
        }
        pods = [pod("demo-chatserver-a", "chatserver"), pod("demo-ingress-a", "ingress"), pod("p", "postgres")]
        self._text = text
        self._items = {"chatclusters": [chatcluster("False")], "pods": pods, "events": [event]}

    def run(self, arguments: Sequence[str]) -> str:
        what = arguments[1].split(".")[0] if len(arguments) > 1 else ""
        if arguments[0] == "logs":
            return f"2026-11-22T12:00:01Z {self._text}\n2026-11-22T12:00:02Z {json.dumps({'event': self._text})}\n"
        if arguments[0] == "config":
            return "chat"
        if arguments[0] != "get" or "--raw" in arguments:
            raise KubectlError(f"refused {self._text}", "Refused")
        found = planted(self._items.get(what, []), self._text)
        named = not arguments[2].startswith("-")
        if named and not found:
            raise KubectlError(f"no {what} {self._text}", "NotFound")
        return json.dumps(found[0] if named else {"items": found})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, Sequence[str]], str]:
    """Runs a command in front of a hostile cluster and returns all that it printed."""

    def run(text: str, arguments: Sequence[str]) -> str:
        answers = Answers(text)
        monkeypatch.setattr(kubectl.Kubectl, "run", lambda _, *given, stdin=None: answers.run(given))  # noqa: ARG005
        monkeypatch.setattr(command, "find", lambda flags: kubectl.Kubectl("kubectl", tuple(flags)))
        out = io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", out)
        bundle = tmp_path / "bundle.tar.gz"
        bundle.unlink(missing_ok=True)
        with pytest.raises(SystemExit):
            command.main([part.replace("BUNDLE", str(bundle)) for part in arguments])
        if bundle.exists():
            with tarfile.open(bundle) as packed:
                for member in packed.getmembers():
                    extracted = packed.extractfile(member)
                    assert extracted is not None
                    out.write(extracted.read().decode())
        return out.getvalue()

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "demo"],
        ["status", "demo", "-o", "json"],
        ["connections", "demo"],
        ["connections", "demo", "-o", "json"],
        ["logs", "demo"],
        ["drain", "demo-chatserver-a"],
        ["support-bundle", "demo", "--output", "BUNDLE"],
    ],
    ids=" ".join,
)
@settings(
    max_examples=25, deadline=dt.timedelta(seconds=20), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=HOSTILE)
def test_no_command_writes_what_moves_a_cursor(
    run: Callable[[str, Sequence[str]], str], arguments: list[str], text: str
) -> None:
    printed = run(text, arguments)
    assert printed
    assert [letter for letter in printed if not letter.isprintable() and letter not in "\n\t"] == []


def test_a_message_cannot_forge_a_line(run: Callable[[str, Sequence[str]], str]) -> None:
    printed = run("\nReady for 3d: https://evil.example.com/", ["status", "demo"])
    assert not [line for line in printed.splitlines() if line.startswith("Ready for")]


def test_lines_are_cleaned_one_by_one_and_kept_apart() -> None:
    assert terminal.page("a\x1b[2J\nb\r\n") == "a�[2J\nb�\n"
    assert terminal.line("a\tb\nc") == "a\tb�c"
