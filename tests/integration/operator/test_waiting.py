"""What an admin waits for with kubectl, as the page of conditions has it: each command ends when it is so."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

import pytest

from chatoperator.observed import Answer
from chatoperator.parts.database.logins import REQUEST_ANNOTATION
from chatoperator.parts.ingress.tls import self_signed
from tests.support.certificates import issued
from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

HOST = "chat.example.com"
PAIR = issued([HOST])
FINGERPRINT = str(self_signed.fingerprint(PAIR.certificate))

COMMAND = re.compile(r"^\| (?P<until>[^|]+) \| `(?P<command>kubectl wait [^`]+)` \|$", re.MULTILINE)


def documented() -> dict[str, str]:
    """By what the page says that it is waited for, what kubectl is to look at."""
    page = (ROOT / "docs" / "operations" / "conditions.md").read_text()
    found = {row["until"]: _looked_at(row["command"]) for row in COMMAND.finditer(page)}
    assert len(found) > 10
    return found


def _looked_at(command: str) -> str:
    words = shlex.split(command)
    assert words[:3] == ["kubectl", "wait", "cc/demo"]
    return next(word for word in words if word.startswith("--for=")).replace("=AB:CD", f"={FINGERPRINT}")


def _waited(operator: Operator, looked_at: str, seconds: int) -> bool:
    wait = operator.server.run_kubectl("wait", "cc/demo", "-n", operator.namespace, looked_at, f"--timeout={seconds}s")
    assert wait.returncode == 0 or re.search("timed out|not met|not found", wait.stderr), wait.stderr
    return wait.returncode == 0


async def test_each_wait_of_the_page_ends_when_it_is_so_and_not_before(operator: Operator) -> None:
    waits = documented()

    async def after(step: Callable[[], Awaitable[None]], *untils: str) -> None:
        assert [until for until in untils if _waited(operator, waits[until], 0)] == [], "too early"
        await step()
        assert [until for until in untils if not _waited(operator, waits.pop(until), 1)] == [], "never"

    operator.chatcluster["spec"] |= {
        "ingress": {"hostnames": [], "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}},
        "chatserver": {"scaling": {"minReplicas": 3}},
        "database": {"storage": {"size": "20Gi"}},
    }
    operator.create()
    await after(
        lambda: operator.reconcile(2),
        "no older ChatCluster has the same hostname",
        "a release runs",
        "the volume has its new size",
    )
    await after(
        lambda: _runs(operator),
        "the database is ready",
        "all desired chatservers are ready",
        "a given number of chatservers is ready",
    )
    await after(
        lambda: _reached(operator),
        "`status.url` is set",
        "the chat works",
        "clients can connect, with the certificate that the spec names",
        "a changed spec is applied, or needs your action",
        "after that: it is applied",
    )
    await after(lambda: _rotates(operator), "a password rotation has begun; it is complete with `Progressing=False`")
    await after(
        lambda: _certified(operator),
        "the operator has a replaced certificate (its fingerprint: `openssl x509 -noout -fingerprint -sha256`)",
    )
    operator.restart(version="2")
    await after(operator.reconcile, "a newer release is available")
    operator.patch({"paused": True})
    await after(operator.reconcile, "the operator is paused")
    await after(lambda: _deleted(operator), "the ChatCluster is deleted")
    assert not waits, "each row is tried"


async def _runs(operator: Operator) -> None:
    await operator.migrated()
    await operator.reconcile(2)
    operator.rolled_out()
    await operator.reconcile()


async def _reached(operator: Operator) -> None:
    operator.patch_status("service", "demo-ingress", {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})
    operator.prober.answer = Answer(ok=True, message="answered")
    await operator.reconcile()


async def _rotates(operator: Operator) -> None:
    operator.kubectl("annotate", "cc", "demo", f"{REQUEST_ANNOTATION}=today")
    await operator.reconcile()


async def _certified(operator: Operator) -> None:
    texts = {"tls.crt": PAIR.certificate, "tls.key": PAIR.key}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": texts}
    operator.kubectl("create", "-f", "-", stdin=json.dumps(secret))
    operator.patch({"ingress": {"tls": {"mode": "Secret", "secretName": "mine"}}})
    await operator.reconcile()


async def _deleted(operator: Operator) -> None:
    operator.kubectl("delete", "cc", "demo")
