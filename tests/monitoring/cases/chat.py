"""Cases for monitoring/rules/chat.py."""

import itertools

from chatoperator.reconcile.series import COMPONENTS
from tests.support.rulecases import Case, counter, gauge, streak

FAILS = {
    'chatprobe_failures_total{step="connect"}': counter(0, 5, 2),
    'chatprobe_failures_total{step="send"}': counter(0, 1, 0),
    "chatprobe_attempts_total": counter(6, 6),
}

CASES = [
    Case("ChatNotReady", ("page",), {'chatcluster_ready{pod="operator"}': gauge(1, 0)}, brief=2),
    # The operator was down for half an hour, and finds the chat broken.
    Case(
        "ChatNotReady",
        ("page",),
        {'chatcluster_ready{pod="operator"}': gauge(1, None), 'chatcluster_ready{pod="operator-b"}': gauge(None, 0)},
        brief=2,
    ),
    # A new chat: nothing before, and then not Ready for its first ten minutes; five are over when its series is.
    Case("ChatNotReady", ("page",), {'chatcluster_ready{pod="operator"}': gauge(None, 0)}, brief=5),
    *(
        Case(
            alert,
            ("page",),
            # Attempts that fail break no promise.
            {metric: counter(0, 1, 0), 'chatprobe_failures_total{step="receive"}': counter(0, 1, 6)},
            steps=(10, 5, 70),
        )
        for alert, metric in (
            ("ChatMessageLost", "chatprobe_lost_total"),
            ("ChatMessageDuplicated", "chatprobe_duplicated_total"),
            ("ChatMessageReordered", "chatprobe_reordered_total"),
        )
    ),
    Case("ChatProbeFailing", ("page",), FAILS),
    # A probe beside the chat still succeeds while one from outside fails.
    Case(
        "ChatProbeFailing",
        ("page",),
        {
            'chatprobe_failures_total{step="connect", instance="outside"}': counter(0, 6, 2),
            'chatprobe_attempts_total{instance="outside"}': counter(6, 6),
            'chatprobe_failures_total{step="connect", instance="inside"}': counter(0, 0),
            'chatprobe_attempts_total{instance="inside"}': counter(6, 6),
        },
    ),
    # One message each five minutes: two that fail, one after the other, wake nobody.
    Case(
        "ChatProbeFailing",
        ("page",),
        {
            'chatprobe_failures_total{step="connect", instance="outside"}': counter(0, 0.2),
            'chatprobe_attempts_total{instance="outside"}': counter(0.2, 0.2),
            'chatprobe_consecutive_failures{instance="outside"}': streak(0.2),
            'chatprobe_consecutive_failures{instance="inside"}': gauge(0, 0),
        },
        steps=(20, 30, 20),
        brief=10,
    ),
    Case(
        "ChatNoServers",
        ("page",),
        {
            'haproxy_backend_active_servers{proxy="chatserver", pod="a"}': gauge(2, 0),
            'haproxy_backend_active_servers{proxy="chatserver", pod="b"}': gauge(2, 0, 1),
            'haproxy_backend_active_servers{proxy="other", pod="b"}': gauge(0, 0),
        },
    ),
    *(
        Case(
            "ChatTargetsAbsent",
            ("page",),
            {
                f'chatcluster_replicas{{component="{component}", state="desired"}}': gauge(2, 2),
                f'up{{component="{component}", pod="a"}}': gauge(1, down, down),
                f'up{{component="{component}", pod="b"}}': gauge(1, None, 1),
            },
            labels={"component": component},
        )
        for component, down in zip(COMPONENTS, itertools.cycle((0, None)), strict=False)
    ),
    # A chat that is not upgraded yet may run a PostgreSQL without metrics.
    Case(
        "ChatTargetsAbsent",
        ("page",),
        {
            'chatcluster_replicas{component="database", state="desired"}': gauge(1, 1),
            'chatcluster_condition{type="UpgradeAvailable", status="True"}': gauge(None, None, 1),
            'up{component="database", pod="a"}': gauge(1, 0, 0),
        },
        labels={"component": "database"},
    ),
    # An external database has no pods here.
    Case(
        "ChatTargetsAbsent",
        ("page",),
        {
            'chatcluster_replicas{component="database", state="desired"}': gauge(None, 1, 0),
            'chatcluster_ready{pod="operator"}': gauge(1, 1),
        },
        labels={"component": "database"},
    ),
]
