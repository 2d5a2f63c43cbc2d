"""Cases for monitoring/rules/slo.py: each SLO is missed quickly and slowly, and nearly."""

from tests.support.rulecases import Case, Signal, counter

HOUR, DAY = 60, 24 * 60
"""In steps of a minute."""

SLOS = ("sends_accepted", "sends_quick", "delivery", "connecting", "requests_forwarded", "end_to_end")


def events(slo: str, bad: float, near: float, each_step: float = 1000) -> dict[str, Signal]:
    """Events in each step, and shares of bad ones during a fault and a fault that must not fire."""
    all_of_them = counter(each_step, each_step)
    good = counter(each_step, each_step * (1 - bad), each_step * (1 - near))
    lost = counter(0, each_step * bad, each_step * near)
    send = 'chatserver_send_seconds_{}{{result="{}"{}, pod="a"}}'
    opened = 'chatserver_connections_opened_total{{result="{}", pod="a"}}'
    match slo:
        case "sends_accepted":
            quick = send.format("bucket", "ok", ', le="0.1"')
            return {send.format("count", "ok", ""): good, send.format("count", "unavailable", ""): lost, quick: good}
        case "sends_quick":
            return {send.format("count", "ok", ""): all_of_them, send.format("bucket", "ok", ', le="0.1"'): good}
        case "delivery":
            push = 'chatserver_push_seconds_{}{{{}pod="a"}}'
            return {push.format("count", ""): all_of_them, push.format("bucket", 'le="0.25", '): good}
        case "connecting":
            # Clients that may not connect at all are nobody's fault.
            return {
                opened.format("accepted"): good,
                opened.format("full"): lost,
                opened.format("unauthenticated"): lost,
            }
        case "requests_forwarded":
            backend = 'haproxy_backend_{}_total{{proxy="chatserver"{}, pod="h"}}'
            return {
                backend.format("sessions", ""): all_of_them,
                # No server, or none with a free place.
                backend.format("connection_errors", ""): lost,
                # The servers' own, which the other objectives count, beside HAProxy's.
                backend.format("http_responses", ', code="5xx"'): all_of_them,
            }
        case _:
            return {
                'chatprobe_attempts_total{pod="p"}': all_of_them,
                'chatprobe_round_trip_seconds_bucket{le="0.5", pod="p"}': good,
            }


CASES = [
    # So many events are bad for half an hour, and so few that the budget lasts.
    *(
        Case(
            "ChatErrorBudgetBurnFast",
            ("page",),
            # Sends that are not accepted are not quick either: half of them would miss two objectives.
            events(slo, 0.05 if slo == "sends_accepted" else 0.5, 0.001),
            labels={"slo": slo},
            steps=(2 * HOUR, 30, 7 * HOUR),
            every=10,
        )
        for slo in SLOS
    ),
    # Of the probe outside the cluster half of the messages come too late; the one beside the chat sends more, and well.
    Case(
        "ChatErrorBudgetBurnFast",
        ("page",),
        {
            'chatprobe_attempts_total{instance="inside"}': counter(1000, 1000),
            'chatprobe_round_trip_seconds_bucket{le="0.5", instance="inside"}': counter(1000, 1000),
            'chatprobe_attempts_total{instance="outside"}': counter(100, 100),
            'chatprobe_round_trip_seconds_bucket{le="0.5", instance="outside"}': counter(100, 50, 99.9),
        },
        labels={"slo": "end_to_end"},
        steps=(2 * HOUR, 30, 7 * HOUR),
        every=10,
    ),
    # A rate that empties the budget in five days, seen over six hours.
    Case(
        "ChatErrorBudgetBurnFast",
        ("page",),
        events("delivery", 0.08, 0.04),
        labels={"slo": "delivery"},
        steps=(4 * HOUR, 6 * HOUR, 2 * HOUR),
        every=10,
    ),
    # Four sends in an hour, one of which fails: nobody is to be woken for it.
    Case(
        "ChatErrorBudgetBurnFast",
        ("page",),
        {**events("end_to_end", 0.8, 0.2, each_step=0.2)},
        labels={"slo": "end_to_end"},
        steps=(2 * HOUR, HOUR, 7 * HOUR),
        every=10,
    ),
    Case(
        "ChatErrorBudgetBurnSlow",
        ("ticket",),
        events("delivery", 0.04, 0.005),
        labels={"slo": "delivery"},
        steps=(3 * DAY // 2, DAY, DAY // 2),
        every=60,
    ),
]
