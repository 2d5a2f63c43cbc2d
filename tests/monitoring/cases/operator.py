"""Cases for monitoring/rules/operator.py."""

from tests.support.rulecases import Case, Signal, clock, counter, gauge

PROGRESSING = 'chatcluster_condition{type="Progressing", '
SINCE = 'chatcluster_condition_since_timestamp_seconds{type="Progressing", pod="operator"}'
OPERATOR = 'namespace="chatcluster-system", job="operator"'


def _reported(ready: Signal) -> dict[str, Signal]:
    """A chat with two pods, and what an operator reports of it."""
    return {
        'up{namespace="chat", chatcluster="demo", component="chatserver", pod="s"}': gauge(1, 1),
        'up{namespace="chat", chatcluster="demo", component="ingress", pod="i"}': gauge(0, 0),
        'chatcluster_ready{namespace="chat", chatcluster="demo", pod="b"}': ready,
    }


CASES = [
    Case(
        "ChatScalingLimited",
        ("ticket",),
        {
            'chatcluster_condition{type="ScalingLimited", status="True", reason="TooFewServers"}': gauge(None, 1, None),
            'chatcluster_condition{type="ScalingLimited", status="True", reason="AtMinimum"}': gauge(None, None, 1),
        },
    ),
    *(
        Case(
            "ChatChangeStuck",
            ("ticket",),
            {
                f'{PROGRESSING}status="{status}", reason="{reason}"}}': gauge(None, 1, None),
                f'{PROGRESSING}status="False", reason="Settled"}}': gauge(1, None, None),
                f'{PROGRESSING}status="False", reason="Paused"}}': gauge(None, None, 1),
            },
            labels={"reason": reason},
        )
        for status, reason in (("False", "InvalidSpec"), ("True", "RolloutFailing"), ("False", "ParametersRefused"))
    ),
    # A change that works may take an hour.
    Case(
        "ChatChangeStuck",
        ("ticket",),
        {
            f'{PROGRESSING}status="False", reason="Settled"}}': gauge(1, None),
            f'{PROGRESSING}status="True", reason="Migrating"}}': gauge(None, 1),
            SINCE: gauge(20 * 60, 20 * 60),
        },
        labels={"reason": "Migrating"},
        steps=(20, 80, 20),
        brief=60,
    ),
    # Servers that die before Prometheus has seen them have no series of their own.
    *(
        Case(
            "ChatPodsNotReady",
            ("ticket",),
            {
                f'chatcluster_replicas{{component="{component}", state="desired"}}': gauge(4, 4),
                f'chatcluster_replicas{{component="{component}", state="ready"}}': gauge(4, 3),
                # More than desired, as in a rollout.
                'chatcluster_replicas{component="probe", state="desired"}': gauge(1, 1),
                'chatcluster_replicas{component="probe", state="ready"}': gauge(1, 2),
            },
            labels={"component": component},
            steps=(30, 40, 30),
            brief=7,
        )
        for component in ("chatserver", "ingress")
    ),
    Case(
        "ChatOperatorErrors",
        ("ticket",),
        {'chatcluster_reconcile_errors_total{pod="operator"}': counter(0, 1, 0.1)},
        steps=(20, 5, 30),
    ),
    # The counter of a ChatCluster appears with its first errors.
    Case(
        "ChatOperatorErrors",
        ("ticket",),
        {'chatcluster_reconcile_errors_total{pod="operator"}': gauge(None, 3, 2)},
        steps=(20, 5, 30),
    ),
    Case(
        "ChatOperatorErrors",
        ("ticket",),
        {
            'chatcluster_loop_failures_total{namespace="chatcluster-system", loop="sweep"}': gauge(None, 1, None),
            'chatcluster_reconcile_total{namespace="chatcluster-system", result="error"}': counter(0, 1, 1),
        },
        labels={"namespace": "chatcluster-system"},
        of_a_chat=False,
        steps=(20, 5, 30),
    ),
    Case(
        "ChatOperatorDeaf",
        ("page",),
        {f'chatcluster_last_sweep_timestamp_seconds{{{OPERATOR}, pod="a"}}': clock(near=120)},
        labels={"namespace": "chatcluster-system", "job": "operator"},
        of_a_chat=False,
    ),
    Case(
        "ChatOperatorDeaf",
        ("page",),
        {
            # The one that stands by never sweeps.
            f'chatcluster_last_sweep_timestamp_seconds{{{OPERATOR}, pod="a"}}': clock(),
            f'chatcluster_last_sweep_timestamp_seconds{{{OPERATOR}, pod="b"}}': gauge(0, 0),
            f'chatcluster_leading{{{OPERATOR}, pod="a"}}': gauge(1, 0),
            f'chatcluster_leading{{{OPERATOR}, pod="b"}}': gauge(0, 0, 1),
        },
        labels={"namespace": "chatcluster-system", "job": "operator"},
        of_a_chat=False,
    ),
    Case(
        "ChatOperatorAbsent",
        ("page",),
        {f'chatcluster_leading{{{OPERATOR}, pod="a"}}': gauge(1, None), **_reported(ready=gauge(1, None))},
        of_a_chat=False,
        brief=5,
        steps=(20, 20, 20),
    ),
    # Another operator of the cluster is there, and does not report this one's chats.
    Case(
        "ChatOperatorAbsent",
        ("page",),
        {
            f'chatcluster_leading{{{OPERATOR}, pod="a"}}': gauge(1, 1),
            **_reported(ready=gauge(1, None)),
            'up{namespace="calm", chatcluster="quiet", component="chatserver", pod="d"}': gauge(1, 1),
            'chatcluster_ready{namespace="calm", chatcluster="quiet", pod="a"}': gauge(1, 1),
        },
        labels={"namespace": "chat"},
        of_a_chat=False,
        brief=5,
        steps=(20, 20, 20),
    ),
]
