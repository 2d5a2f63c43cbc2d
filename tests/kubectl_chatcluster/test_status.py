import dataclasses
import json
from typing import Any

import pytest

from kubectl_chatcluster import connections, status
from kubectl_chatcluster.picture import Picture, Reading, chat_of, events_of, pod_of, reading_of, volume_of
from kubectl_chatcluster.table import age
from tests.kubectl_chatcluster.objects import NOW, ago, chatcluster, pod


def event(kind: str, name: str, reason: str, seconds: int) -> dict[str, Any]:
    return {
        "metadata": {"creationTimestamp": ago(seconds)},
        "involvedObject": {"kind": kind, "name": name},
        "type": "Warning",
        "reason": reason,
        "message": f"{reason} happened",
        "lastTimestamp": ago(seconds),
        "count": 3,
    }


def picture(body: dict[str, Any]) -> Picture:
    servers = [
        pod("demo-chatserver-a", "chatserver"),
        pod("demo-chatserver-b", "chatserver", metadata={"deletionTimestamp": ago(5)}),
        pod("demo-ingress-a", "ingress"),
        pod("demo-postgres-0", "postgres", status={"conditions": []}),
    ]
    claim = {
        "metadata": {"name": "demo-postgres-data"},
        "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "10Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "12Gi"}},
    }
    return Picture(
        chat=chat_of(body),
        pods=tuple(pod_of(one) for one in servers),
        readings={"demo-chatserver-a": Reading(30, draining=False), "demo-chatserver-b": None},
        volume=volume_of(claim),
        events=events_of([event("Pod", "demo-chatserver-a", "Unhealthy", 30)], "demo"),
        unseen=(),
    )


def test_status_tells_everything_of_a_chat() -> None:
    text = status.as_text(picture(chatcluster()), NOW)
    for part in (
        "ChatCluster chat/demo, 2h old\nReady for 1m: https://chat.example.com/",
        "Chatservers: 2 ready of 2, 3 desired; 31 connections, target 10000 per server",
        "demo-chatserver-a   ready     30            1h    2          node-1",
        "demo-chatserver-b   leaving   ?",
        "Ingress: 1 ready of 1",
        "Database: 0 ready of 1",
        "demo-postgres-0   not ready",
        "volume demo-postgres-data: Bound, 12Gi, class fast",
        "Version: 0.1.0",
        "haproxy: haproxy:1",
        "30s   Warning   Unhealthy   Pod/demo-chatserver-a   Unhealthy happened (x3)",
    ):
        assert part in text, text


def test_status_shows_a_probe_where_there_is_one() -> None:
    without = picture(chatcluster())
    assert "Probe" not in status.as_text(without, NOW)
    probed = dataclasses.replace(without, pods=(*without.pods, pod_of(pod("demo-probe-a", "probe"))))
    assert "\nProbe: 1 ready of 1\n" in status.as_text(probed, NOW)


def test_status_shows_valkey_where_it_is_the_bus() -> None:
    without = picture(chatcluster())
    assert "Bus:" not in status.as_text(without, NOW)
    with_valkey = dataclasses.replace(without, pods=(*without.pods, pod_of(pod("demo-bus-0", "bus"))))
    assert "\nBus: 1 ready of 1\n" in status.as_text(with_valkey, NOW)


def test_status_shows_which_instance_of_the_database_leads_and_which_follow() -> None:
    assert "INSTANCE" not in status.as_text(picture(chatcluster()), NOW)
    instances = [
        {"name": "demo-postgres-0", "state": "running", "synchronous": False},
        {"name": "demo-postgres-2-0", "state": "streaming", "synchronous": True, "lagMebibytes": 0},
        {"name": "demo-postgres-3-0", "state": "unknown", "synchronous": False},
    ]
    database = {"leader": "demo-postgres-0", "instances": instances}
    shown = [line.split() for line in status.as_text(picture(chatcluster(database=database)), NOW).splitlines()]
    for line in (
        ["leader", "demo-postgres-0"],
        ["demo-postgres-0", "leader", "running", "no", "-"],
        ["demo-postgres-2-0", "replica", "streaming", "yes", "0"],
        ["demo-postgres-3-0", "replica", "unknown", "no", "?"],
    ):
        assert line in shown, shown
    del database["leader"]
    text = status.as_text(picture(chatcluster(database=database)), NOW)
    assert "no instance leads: nothing is written" in text


def test_a_chat_that_is_not_ready_says_why_in_its_second_line() -> None:
    text = status.as_text(picture(chatcluster(ready="False")), NOW)
    assert text.splitlines()[1] == "NOT READY for 1m: no answer within 5 s"


def test_a_status_of_an_older_spec_is_called_so() -> None:
    body = chatcluster(observedGeneration=2)
    assert "(for generation 2 of the spec; the operator has not processed generation 3 yet)" in status.headline(
        chat_of(body), NOW
    )


def test_a_chat_that_no_operator_has_seen_is_not_ready() -> None:
    body = chatcluster()
    del body["status"]
    chat = chat_of(body)
    assert not chat.ready
    assert "Check that it runs" in status.headline(chat, NOW)
    assert "none yet" in status.as_text(picture(body), NOW)


def test_json_holds_the_answer_and_the_servers() -> None:
    made = json.loads(status.as_json(picture(chatcluster())))
    assert made["ready"] is True
    assert made["readings"] == {
        "demo-chatserver-a": {"connections": 30, "draining": False},
        "demo-chatserver-b": None,
    }


def test_connections_of_a_silent_server_are_unknown_never_none() -> None:
    text = connections.as_text(picture(chatcluster()), NOW)
    assert text.splitlines()[1].split() == ["demo-chatserver-a", "30", "100.0", "%", "no", "1h"]
    assert text.splitlines()[2].split() == ["demo-chatserver-b", "?", "?", "yes", "1h"]
    assert "30 connections on 2 servers; 1 of them did not report a number" in text
    assert "target 10000 per server; 2 servers ready, 3 desired" in text
    made = json.loads(connections.as_json(picture(chatcluster())))
    assert [one["connections"] for one in made["servers"]] == [30, None]


def test_events_of_another_chat_are_left_out() -> None:
    found = events_of(
        [
            event("ChatCluster", "demo", "Scaled", 20),
            event("Pod", "demo-chatserver-a", "Started", 40),
            event("ChatCluster", "demo-2", "Scaled", 10),
            event("Pod", "demo-2-chatserver-a", "Started", 10),
        ],
        "demo",
    )
    assert [(one.about, one.reason) for one in found] == [
        ("Pod/demo-chatserver-a", "Started"),
        ("ChatCluster/demo", "Scaled"),
    ]


@pytest.mark.parametrize(
    ("page", "reading"),
    [
        ("chatserver_connections 5.0\nchatserver_draining 0.0\n", Reading(5, draining=False)),
        ("chatserver_connections 1e+03\nchatserver_draining 1.0\n", Reading(1000, draining=True)),
        ("chatserver_connections 5.0\n", None),
        ("chatserver_connections NaN\nchatserver_draining 0.0\n", None),
        ("chatserver_connections_closed_total 5.0\nchatserver_draining 0.0\n", None),
        ("", None),
    ],
)
def test_a_reading_needs_both_figures(page: str, reading: Reading | None) -> None:
    assert reading_of(page) == reading


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (
            {"containerStatuses": [{"restartCount": 9, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            "CrashLoopBackOff",
        ),
        ({"phase": "Pending", "conditions": [], "containerStatuses": []}, "pending"),
        ({"phase": "Succeeded", "conditions": [], "containerStatuses": [{"state": {"terminated": {}}}]}, "succeeded"),
    ],
)
def test_a_pod_that_does_not_serve_says_why(state: dict[str, Any], told: str) -> None:
    assert pod_of(pod("p", "chatserver", status=state)).state == told


@pytest.mark.parametrize(("seconds", "told"), [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (172_800, "2d")])
def test_ages_are_kubectls(seconds: int, told: str) -> None:
    assert age(pod_of(pod("p", "x", metadata={"creationTimestamp": ago(seconds)})).created, NOW) == told
