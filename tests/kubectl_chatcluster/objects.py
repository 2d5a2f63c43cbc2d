"""Objects as an API server gave them, cut down to what the plugin looks at."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)


def ago(seconds: int) -> str:
    return (NOW - dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def chatcluster(ready: str = "True", **status: Any) -> dict[str, Any]:
    condition = {
        "type": "Ready",
        "status": ready,
        "reason": "Answering" if ready == "True" else "NoAnswer",
        "message": "A request through the ingress was answered" if ready == "True" else "no answer within 5 s",
        "observedGeneration": 3,
        "lastTransitionTime": ago(90),
    }
    return {
        "apiVersion": "chatcluster.io/v1alpha1",
        "kind": "ChatCluster",
        "metadata": {"name": "demo", "namespace": "chat", "creationTimestamp": ago(7200), "generation": 3},
        "spec": {"chatserver": {"targetConnectionsPerServer": 10000}, "database": {}},
        "status": {
            "observedGeneration": 3,
            "conditions": [condition],
            "url": "https://chat.example.com/",
            "connections": 31,
            "replicas": 2,
            "readyReplicas": 2,
            "desiredReplicas": 3,
            "version": "0.1.0",
            "images": {"chatserver": "chatserver:1", "haproxy": "haproxy:1", "postgres": "postgres:1"},
            **status,
        },
    }


def pod(name: str, part: str, **changed: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "chat",
            "uid": f"uid-{name}",
            "creationTimestamp": ago(3600),
            "labels": {
                "app.kubernetes.io/name": "chatcluster",
                "app.kubernetes.io/instance": "demo",
                "app.kubernetes.io/component": part,
            },
            **changed.get("metadata", {}),
        },
        "spec": {
            "nodeName": "node-1",
            "terminationGracePeriodSeconds": 50,
            "containers": [{"name": part, "ports": [{"name": "metrics", "containerPort": 9090}]}],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"restartCount": 2, "state": {"running": {}}}],
            **changed.get("status", {}),
        },
    }


@dataclass
class Answers:
    """A kubectl that reads one state after the other, and the last one for ever."""

    states: list[dict[str, Any]]
    ran: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, *arguments: str) -> str:
        self.ran.append(arguments)
        return ""

    def get(self, *_: str) -> dict[str, Any]:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]
