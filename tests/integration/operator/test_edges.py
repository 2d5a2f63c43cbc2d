"""What lies at the edges: clocks that jump, others' finalizers, a namespace that goes, long names, all of Unicode."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from chatoperator.controller import Controller
from chatoperator.errors import KubeError
from tests.support.admission import forbidden
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.operators import Operator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatoperator.kube.client import Kube
    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 90

NAME_LENGTH_MAX, NAMESPACE_LENGTH_MAX = 40, 63

WORDS = "Grüße, 你好, שלום, नमस्ते, 👩‍👩‍👧 \x7f \x85 \u2028 \ufeff \\ud83d \\"
"""Left and right, combined and beyond 16 bits; what YAML would fold or refuse, and what only looks like an escape."""

NAMESPACE_CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "persistentvolumeclaim-protection-controller",
)
"""What empties a namespace."""

HOLD = "example.com/hold"
"""A finalizer of somebody else's."""


async def _secrets(operator: Operator) -> dict[str, Any]:
    return {one["metadata"]["name"]: one["data"] for one in await operator.kube.list("Secret", operator.namespace)}


def _certificate(secret: dict[str, str], key: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(secret[key]))


async def test_a_clock_that_jumps_and_comes_back_makes_nothing_anew(operator: Operator) -> None:
    await operator.brought_up()
    before, written = await _secrets(operator), operator.writes()
    for days in (-4000.0, -1, 1, 300, 0):
        operator.later = dt.timedelta(days=days)
        await operator.reconcile(2)
        assert await _secrets(operator) == before, f"after a jump of {days} days"
    assert operator.writes() == written


async def test_certificates_made_by_a_clock_in_the_future_are_replaced_once_it_is_right(operator: Operator) -> None:
    await operator.brought_up()
    before = await _secrets(operator)
    operator.later = dt.timedelta(days=350)
    await operator.reconcile()
    renewed = await _secrets(operator)
    assert renewed["demo-ingress-tls"]["tls.crt"] != before["demo-ingress-tls"]["tls.crt"]
    assert renewed["demo-ingress-tls"]["ca.crt"] == before["demo-ingress-tls"]["ca.crt"], "what people have pinned"
    operator.later = dt.timedelta()
    await operator.reconcile()
    after = await _secrets(operator)
    assert _certificate(after["demo-ingress-tls"], "tls.crt").not_valid_before_utc < dt.datetime.now(dt.UTC)
    assert after["demo-ingress-ca"] == before["demo-ingress-ca"]
    assert after["demo-database"] == before["demo-database"]


async def test_a_child_that_somebody_elses_finalizer_holds_is_made_anew_once_it_is_gone(operator: Operator) -> None:
    await operator.brought_up()
    held = [("service", "demo-chatserver"), ("secret", "demo-ingress-tls"), ("deployment", "demo-ingress")]
    before = {}
    for kind, name in held:
        found = operator.admin.get(kind, name)
        before[name] = found["metadata"]["uid"]
        operator.admin.patch(kind, name, {"metadata": {"finalizers": [HOLD]}})
        operator.kubectl("delete", kind, name, "--wait=false")
    await operator.reconcile(3)
    written = operator.writes()
    await operator.reconcile(3)
    assert operator.writes() == written, "it waits"
    for kind, name in held:
        operator.admin.patch(kind, name, {"metadata": {"finalizers": None}})
    await operator.reconcile()
    for kind, name in held:
        found = operator.admin.get(kind, name)
        assert found["metadata"]["uid"] != before[name]
        assert "deletionTimestamp" not in found["metadata"]


async def test_a_chatcluster_that_somebody_elses_finalizer_holds_is_left_alone(operator: Operator) -> None:
    await operator.brought_up()
    patch = json.dumps({"metadata": {"finalizers": [HOLD]}})
    operator.kubectl("patch", "cc", "demo", "--type=merge", "-p", patch)
    operator.kubectl("delete", "cc", "demo", "--wait=false")
    operator.admin.delete("service", "demo-chatserver")
    written = operator.writes()
    await operator.reconcile(3)
    assert operator.writes() == written
    operator.admin.patch("cc", "demo", {"metadata": {"finalizers": None}})
    await operator.reconcile()
    assert operator.reconciler.known == 0


async def test_a_namespace_goes_while_the_operator_works_in_it(operator: Operator) -> None:
    await operator.brought_up()
    controller = Controller(operator.reconciler, monotonic=time.monotonic, unix_time=time.time)
    controller.start()
    try:
        with operator.server.controllers(*NAMESPACE_CONTROLLERS):
            # Not by a way that waits for the ChatCluster first.
            done = await asyncio.to_thread(
                operator.server.run_kubectl, "delete", "namespace", operator.namespace, "--wait=false"
            )
            assert done.returncode == 0, done.stderr

            def remains() -> str:
                found = operator.server.run_kubectl(
                    "get", "namespace", operator.namespace, "--ignore-not-found", "-o=yaml"
                )
                assert found.returncode == 0, found.stderr
                return found.stdout.strip()

            async def gone() -> bool:
                return not await asyncio.to_thread(remains)

            took = await until(gone, "the namespace is gone", PATIENCE_SECONDS, poll_seconds=0.3, otherwise=remains)
    finally:
        await controller.stop()
    tell(f"a namespace with a ChatCluster, and the operator at work in it, was gone after {took:.1f} s")


@pytest.fixture
def longest(
    server: ApiServer, kube: Kube, release: Kube, namespace: str, minimal: dict[str, Any]
) -> Iterator[Operator]:
    """A ChatCluster whose name and whose namespace's name are as long as they may be."""
    long = f"{namespace}-".ljust(NAMESPACE_LENGTH_MAX, "n")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": long, "labels": labels}}
    assert server.run_kubectl("create", "-f", "-", stdin=json.dumps(manifest)).returncode == 0
    minimal["metadata"] = {"name": "c" * NAME_LENGTH_MAX, "namespace": long}
    yield Operator(kube, server, minimal, own=release)
    server.run_kubectl("delete", "cc", "--all", "-n", long)


async def test_names_at_their_limit_work_down_to_the_pods(longest: Operator) -> None:
    name = "c" * NAME_LENGTH_MAX
    hostname = ".".join(("h" * 63, "h" * 63, "h" * 63, "h" * 61))
    longest.chatcluster["spec"]["ingress"] = {"hostnames": [hostname]}
    longest.create()
    await longest.reconcile(2, name=name)
    await longest.migrated()
    await longest.reconcile(2, name=name)
    wanted = {"chatserver", "ingress", "postgres"}

    async def made() -> bool:
        await longest.reconcile(name=name)
        pods = json.loads(await asyncio.to_thread(longest.kubectl, "get", "pods", "-o", "json"))["items"]
        parts = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods}
        return wanted <= parts

    with longest.server.controllers("deployment-controller", "replicaset-controller", "statefulset-controller"):
        await until(made, "each part has pods", PATIENCE_SECONDS, otherwise=longest.server.controllers_log)
    tls = next(data for secret, data in (await _secrets(longest)).items() if secret.endswith("-ingress-tls"))
    names = _certificate(tls, "tls.crt").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hostname in names.get_values_for_type(x509.DNSName)


async def test_unicode_goes_through_unchanged_and_is_not_written_twice(operator: Operator) -> None:
    spec = operator.chatcluster["spec"]
    operator.chatcluster["metadata"]["annotations"] = {"example.com/note": WORDS}
    spec["chatserver"] = {
        "env": [{"name": "GREETING", "value": WORDS}],
        "podTemplate": {"annotations": {"example.com/note": WORDS}},
    }
    spec["ingress"] = {"service": {"annotations": {"example.com/note": WORDS}}}
    # Which PostgreSQL's own rules would write otherwise.
    parameter = WORDS.split(" \x7f", maxsplit=1)[0]
    spec["database"] = {"parameters": {"application_name": parameter}}
    await operator.brought_up()
    template = (await operator.get("Deployment", "demo-chatserver"))["spec"]["template"]
    assert {"name": "GREETING", "value": WORDS} in template["spec"]["containers"][0]["env"]
    assert template["metadata"]["annotations"]["example.com/note"] == WORDS
    service = await operator.get("Service", "demo-ingress")
    assert service["metadata"]["annotations"]["example.com/note"] == WORDS
    config = (await operator.get("ConfigMap", "demo-postgres"))["data"]
    assert any(parameter in text for text in config.values())
    written = operator.writes()
    await operator.reconcile(3)
    assert operator.writes() == written


async def test_a_refusal_full_of_unicode_is_told(operator: Operator, server: ApiServer, namespace: str) -> None:
    await operator.brought_up()
    # Longer than an Event takes, in characters of three bytes.
    async with forbidden(server, namespace, "例" + "字" * 1200, "configmaps"):
        operator.patch({"database": {"parameters": {"application_name": "x"}}})
        for _ in range(2):
            with pytest.raises(KubeError, match="字"):
                await operator.reconcile()
    told = await operator.condition("Progressing")
    assert told["reason"] == "ApplyFailed"
    assert "字" in told["message"]
    events = operator.admin.list("event")
    assert "ApplyFailed" in {event["reason"] for event in events}
