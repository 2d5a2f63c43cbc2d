"""Status tells the truth, soon and without noise: on a real API server, with a data plane that the test breaks."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.controller import Controller
from chatoperator.metadata import KIND
from chatoperator.observed import Answer, Reading
from chatoperator.parts.ingress.tls import self_signed
from tests.support.cluster import until
from tests.support.findings import tell

if TYPE_CHECKING:
    from tests.support.operators import Operator

pytestmark = pytest.mark.integration

READY_FALSE_SECONDS = 10
"""Ready is False at most so long after the chat stopped answering: the promise to the admin."""

PATIENCE_SECONDS = 60

WELL = Answer(ok=True, message="A request through the ingress was answered")
BROKEN = Answer(ok=False, message="A request through the ingress failed: HTTP status 503")


def _events(operator: Operator) -> list[dict[str, Any]]:
    """The operator's own: the API server too makes some, about addresses of Services."""
    made: list[dict[str, Any]] = operator.admin.list("event")
    return [event for event in made if event["reportingComponent"] == "chatcluster-operator"]


async def _ready(operator: Operator) -> str:
    found = await operator.kube.get(KIND, operator.namespace, "demo")
    conditions = ((found or {}).get("status") or {}).get("conditions") or []
    return next((str(c["status"]) for c in conditions if c["type"] == "Ready"), "")


async def test_ready_follows_the_chat_between_two_sweeps(operator: Operator) -> None:
    await operator.brought_up()
    operator.prober.answer = WELL
    controller = Controller(operator.reconciler, monotonic=time.monotonic, unix_time=time.time)
    controller.start()
    try:
        took = []
        for answer, wanted in ((WELL, "True"), (BROKEN, "False"), (WELL, "True"), (BROKEN, "False")):
            operator.prober.answer = answer

            async def told(status: str = wanted) -> bool:
                return await _ready(operator) == status

            took.append(await until(told, f"Ready is {wanted}", PATIENCE_SECONDS, poll_seconds=0.1))
    finally:
        await controller.stop()
    tell(
        f"Ready False {took[1]:.1f} s and {took[3]:.1f} s after the chat stopped answering, True again {took[2]:.1f} s"
    )
    assert max(took[1], took[3]) < READY_FALSE_SECONDS


async def test_a_change_is_not_called_settled_by_the_reconcile_that_begins_it(operator: Operator) -> None:
    """Whoever waits for `Progressing` of the new generation would otherwise go on before anything has happened."""
    await operator.brought_up()
    operator.rolled_out()
    await operator.reconcile()
    assert (await operator.condition("Progressing"))["reason"] == "Settled"
    operator.patch({"ingress": {"allowedOrigins": ["https://www.example.com"]}, "chatserver": {"drainSeconds": 60}})
    await operator.reconcile()
    chat = await operator.get("ChatCluster", "demo")
    progressing = await operator.condition("Progressing")
    assert progressing["observedGeneration"] == chat["metadata"]["generation"]
    assert progressing["reason"] == "Rolling"
    operator.rolled_out()
    await operator.reconcile()
    assert (await operator.condition("Progressing"))["reason"] == "Settled"


async def test_an_idle_hour_makes_no_event_and_no_write(operator: Operator) -> None:
    await operator.brought_up()
    operator.prober.answer = WELL
    await operator.reconcile(2)
    before, told = operator.writes(), len(_events(operator))
    for _ in range(12):
        await operator.reconcile(seconds=300)
    assert len(_events(operator)) == told
    # Everything is applied anew every ten minutes, which changes nothing.
    written = [write for write in operator.writes()[len(before) :] if "fieldManager=chatcluster-operator" not in write]
    assert written == []


async def test_figures_that_never_rest_are_written_every_15_seconds_at_most(operator: Operator) -> None:
    await operator.brought_up()
    operator.prober.answer = WELL
    for name in ("server-a", "server-b"):
        operator.pod(name)
    counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "observedGeneration": 9}
    operator.patch_status("deployment", "demo-chatserver", counts)
    await operator.reconcile(3)
    before, told = len(operator.writes()), (await operator.status())["connections"]
    for second in range(31):
        operator.prober.connections = {
            name: Reading(100 * second + number, draining=False) for number, name in enumerate(("server-a", "server-b"))
        }
        await operator.reconcile(seconds=1)
    written = [write for write in operator.writes()[before:] if "/chatclusters/demo/status" in write]
    assert 1 <= len(written) <= 3, written
    assert (await operator.status())["connections"] > told


async def test_a_chat_that_flaps_fills_no_event_log(operator: Operator) -> None:
    await operator.brought_up()
    for turn in range(40):
        operator.prober.answer = BROKEN if turn % 2 else WELL
        await operator.reconcile()
    events = _events(operator)
    tell(f"40 turns of Ready within 10 minutes made {len(events)} Events")
    assert len(events) <= 25 + 3
    assert (await operator.condition("Ready"))["status"] == "False", "status goes on telling the truth"


async def test_the_events_of_a_life_read_as_a_story(operator: Operator) -> None:
    """Applied, Ready, changed, broken and why, mended: what people need to know, in this order, and nothing else."""
    told: set[str] = set()

    def news() -> list[str]:
        """What was told since the last look; names of Events are made by chance, and so is their order here."""
        made = {event["metadata"]["uid"]: event["reason"] for event in _events(operator)}
        new = sorted(reason for uid, reason in made.items() if uid not in told)
        told.update(made)
        return new

    async def all_ready() -> None:
        operator.rolled_out()
        await operator.reconcile()

    operator.create()
    await operator.reconcile(2)
    assert news() == ["Migrating", "SenderLog"]
    operator.prober.answer = BROKEN
    await operator.migrated()
    await operator.reconcile(2)
    assert news() == ["Rolling"]
    await all_ready()
    assert news() == ["AllReady", "AllReady", "AllReady", "Settled"]
    operator.prober.answer = WELL
    await operator.reconcile(3)
    assert news() == ["Answering"]

    operator.patch({"ingress": {"replicas": 3}, "paused": True})
    await operator.reconcile()
    assert news() == ["Paused", "Paused", "Paused"]
    operator.patch({"ingress": None, "paused": False})
    await operator.reconcile(2)
    assert "NotPaused" in news()

    operator.prober.answer = BROKEN
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    operator.patch_status("statefulset", "demo-postgres", dict.fromkeys(counts, 0))
    await operator.reconcile(2)
    assert news() == ["NotReady", "NotReady"]
    warnings = [event for event in _events(operator) if event["type"] == "Warning"]
    assert [event["reason"] for event in warnings] == ["NotReady", "NotReady"]
    assert any("0 of 1 postgres pods are ready" in event["message"] for event in warnings)
    operator.prober.answer = WELL
    await all_ready()
    assert news() == ["AllReady", "Answering"]
    await operator.reconcile(5)
    assert news() == []


async def test_two_chatclusters_with_one_hostname_both_serve_and_the_younger_is_told(operator: Operator) -> None:
    hostname = f"{operator.namespace}.example.com"
    operator.chatcluster["spec"]["ingress"] = {"hostnames": [hostname]}
    await operator.brought_up()
    younger = copy.deepcopy(operator.chatcluster)
    younger["metadata"]["name"] = "younger"
    # creationTimestamp counts whole seconds.
    await asyncio.sleep(1.1)
    operator.kubectl("create", "-f", "-", stdin=json.dumps(younger))

    async def conflicts() -> dict[str, str]:
        await operator.cache.refill()
        keys = [key for key in operator.reconciler.chatclusters() if key[0] == operator.namespace]
        found = {}
        for key in keys:
            await operator.reconcile(name=key[1])
            live = await operator.get(KIND, key[1])
            (made,) = [c for c in live["status"]["conditions"] if c["type"] == "HostnameConflict"]
            found[key[1]] = made["status"]
            if made["status"] == "True":
                assert (
                    f"The older ChatCluster demo in namespace {operator.namespace} already uses {hostname}"
                    in made["message"]
                )
        return found

    assert await conflicts() == {"demo": "False", "younger": "True"}
    assert await operator.get("Service", "younger-ingress")
    assert [event["reason"] for event in _events(operator)].count("HostnameTaken") == 1
    operator.kubectl("delete", "cc", "demo")
    assert await conflicts() == {"younger": "False"}


async def test_an_expired_certificate_of_the_users_is_told_though_the_chat_answers(operator: Operator) -> None:
    operator.chatcluster["spec"]["ingress"] = {"tls": {"mode": "Secret", "secretName": "mine"}}
    await operator.brought_up()
    operator.prober.answer = WELL
    now = dt.datetime.now(dt.UTC)
    for days, ready, reason in (
        (400, "False", "CertificateExpired"),
        (360, "True", "CertificateExpiring"),
        (0, "True", None),
    ):
        made = self_signed.ensure(None, None, ("chat.example.com",), now - dt.timedelta(days=days)).server
        operator.kubectl("delete", "secret", "mine", "--ignore-not-found")
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "mine"},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": made.certificate, "tls.key": made.key},
        }
        operator.kubectl("create", "-f", "-", stdin=json.dumps(secret))
        await operator.reconcile()
        # No controller makes the proxies ready here, which is another reason.
        replicas = {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "observedGeneration": 9}
        operator.patch_status("deployment", "demo-ingress", replicas)
        await operator.reconcile()
        assert (await operator.condition("Ready"))["status"] == ready
        told = await operator.condition("IngressReady")
        assert told["reason"] == (reason or "AllReady")


async def test_the_pulse_wakes_a_chat_whose_certificate_has_just_ended(operator: Operator) -> None:
    operator.chatcluster["spec"]["ingress"] = {"tls": {"mode": "Secret", "secretName": "mine"}}
    await operator.brought_up()
    operator.prober.answer = WELL
    await operator.reconcile()
    assert await operator.reconciler.turned() == []
    state = operator.reconciler._states[operator.namespace, "demo"]
    state.certificate_expires = dt.datetime.now(dt.UTC)
    assert await operator.reconciler.turned() == [(operator.namespace, "demo")]
