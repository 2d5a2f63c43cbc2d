"""Service level objectives, and alerts on the rate at which their error budgets are used (docs/operations/slo.md).

Each SLO is a pair of recorded rates for each chat: all events, and bad ones. The rest follows from them: ratios over
windows, and alerts on two windows at once, of which the short one makes an alert resolve soon after the fault.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.rules.declared import CHAT, Alert, Group, Record, Severity
from monitoring.rules.scaling import MILLISECONDS, milliseconds

LEAST_BAD_EVENTS = 5
"""Bad events in the long window without which no budget alert fires: one refused send of fifty in an hour is 2 %, which
would page."""

STEP_FROM = "6h"
"""Windows from this length read every fifth minute of the recorded rates, which cover five minutes each."""


@dataclass(frozen=True)
class Slo:
    """One objective.

    Attributes:
        name: Label ``slo`` of its series.
        percent: Default objective over 30 days, in percent of all events.
        events: PromQL of all events a second, by namespace and chatcluster.
        good: PromQL of the good ones.
    """

    name: str
    percent: float
    events: str
    good: str

    @property
    def value(self) -> str:
        """Its key in the chart's ``monitoring.rules.slo``: ``endToEnd`` for ``end_to_end``."""
        first, *others = self.name.split("_")
        return first + "".join(word.title() for word in others)


@dataclass(frozen=True)
class Burn:
    """How fast a budget is used: at 1 it is empty after 30 days.

    Attributes:
        factor: Times as fast.
        long: Window that shows that it matters.
        short: Window that shows that it still happens.
    """

    factor: float
    long: str
    short: str


def _rate(selector: str) -> str:
    return f"sum by (namespace, chatcluster) (rate({selector}[5m]))"


def _of_haproxy(counter: str) -> str:
    return _rate(f'haproxy_backend_{counter}_total{{proxy="chatserver"}}')


def _by_probe(selector: str) -> str:
    return f"sum by (namespace, chatcluster, instance) (rate({selector}[5m]))"


_MEASURED = "chatprobe_attempts_total"
_PROBED = f"max by (namespace, chatcluster) ({_by_probe(_MEASURED)})"

_TRIED = _rate('chatserver_send_seconds_count{result=~"ok|unavailable"}')

SLOS = (
    Slo("sends_accepted", 99.9, _TRIED, _rate('chatserver_send_seconds_count{result="ok"}')),
    Slo("sends_quick", 99, _TRIED, _rate('chatserver_send_seconds_bucket{result="ok", le="0.1"}')),
    Slo(
        "delivery",
        99,
        _rate("chatserver_push_seconds_count"),
        _rate('chatserver_push_seconds_bucket{le="0.25"}'),
    ),
    Slo(
        "connecting",
        99.5,
        _rate('chatserver_connections_opened_total{result=~"accepted|full|draining|unavailable"}'),
        _rate('chatserver_connections_opened_total{result="accepted"}'),
    ),
    Slo(
        "requests_forwarded",
        99.5,
        # Counted when the request is there, not when it ends, which is hours later for a WebSocket.
        _of_haproxy("sessions"),
        # What servers answer, 503 too, is no connection error. HAProxy counts response errors for each try, twice.
        f"{_of_haproxy('sessions')} - {_of_haproxy('connection_errors')}",
    ),
    Slo(
        "end_to_end",
        99.5,
        _PROBED,
        # Of the worst probe: one beside the chat would hide what one outside the cluster sees.
        f"{_PROBED} * min by (namespace, chatcluster) ("
        + _by_probe('chatprobe_round_trip_seconds_bucket{le="0.5"}')
        + f" / ({_by_probe(_MEASURED)} > 0))",
    ),
)

FAST = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
"""2 % of the budget in an hour, 5 % in six."""

SLOW = (Burn(3, "1d", "2h"), Burn(1, "3d", "6h"))
"""A tenth of the budget in a day, or in three."""

OBJECTIVE = "chatcluster_slo:objective:ratio"
EVENTS = "chatcluster_slo:events:rate5m"
ERRORS = "chatcluster_slo:errors:rate5m"
EVENTS_OF_AN_HOUR = "chatcluster_slo:events:rate1h"
ERRORS_OF_AN_HOUR = "chatcluster_slo:errors:rate1h"
"""What the budget is summed up from: a query of 30 days at steps of minutes would exceed Prometheus' limit of samples
with some hundreds of chats (`query.max-samples`)."""

BUDGET_LEFT = "chatcluster_slo:budget_left:ratio30d"
"""What is left of the budget of the last 30 days, up to the last full hour: 1 is all of it, below 0 the objective is
missed. A Prometheus that is younger judges by what it has."""


def ratio(window: str) -> str:
    """Name of the recorded share of bad events over a window."""
    return f"chatcluster_slo:error_ratio:{window}"


def objective(percent: float) -> str:
    """The expression of ``OBJECTIVE``; the chart's template writes the same with its values."""
    return f"vector({percent:g} / 100)"


def _base(slo: Slo) -> tuple[Record, ...]:
    labels = {"slo": slo.name}
    # Before its first good event a series of good ones may not exist; the counters of one scrape may differ a little.
    errors = f"clamp_min({slo.events} - ({slo.good} or {slo.events} * 0), 0)"
    return (
        Record(OBJECTIVE, objective(slo.percent), labels),
        Record(EVENTS, slo.events, labels),
        Record(ERRORS, errors, labels),
    )


def _range(window: str) -> str:
    return f"[{window}:5m]" if milliseconds(window) >= milliseconds(STEP_FROM) else f"[{window}]"


def _ratio(window: str) -> Record:
    covered = _range(window)
    return Record(ratio(window), f"sum_over_time({ERRORS}{covered})\n/\n(sum_over_time({EVENTS}{covered}) > 0)")


def _half(window: str) -> str:
    return f"{milliseconds(window) // 2 // MILLISECONDS['s']}s"


def _burns(burn: Burn) -> str:
    threshold = f"on (slo) group_left () ({burn.factor:g} * (1 - {OBJECTIVE}))"
    half = _half(burn.long)
    return "\nand\n".join(
        (
            f"{ratio(burn.long)} > {threshold}",
            f"{ratio(burn.short)} > {threshold}",
            f"avg_over_time({ERRORS}{_range(burn.long)}) * seconds({burn.long}) >= {LEAST_BAD_EVENTS}",
            # Otherwise the first minutes of a young Prometheus would count as the whole window.
            f"present_over_time({EVENTS}[{half}] offset {half})",
        )
    )


def _alert(name: str, severity: Severity, burns: tuple[Burn, ...], left: str) -> Alert:
    return Alert(
        name,
        severity,
        "\nor\n".join(f"(\n{_burns(burn)}\n)" for burn in burns),
        "0s",
        f"{CHAT} uses its error budget too fast: {{{{ $labels.slo }}}}",
        f"{{{{ $value | humanizePercentage }}}} of the events of the objective {{{{ $labels.slo }}}} were bad. {left} "
        "First look at the other alerts of this chat and at its conditions (kubectl describe chatcluster), "
        "then at the panels of this objective on the overview dashboard.",
    )


_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

GROUPS = (
    Group(
        "chatcluster-slo",
        "30s",
        (*(rule for slo in SLOS for rule in _base(slo)), *(_ratio(window) for window in _WINDOWS[:4])),
    ),
    Group(
        "chatcluster-slo-long",
        "4m",
        (
            *(_ratio(window) for window in _WINDOWS[4:]),
            Record(EVENTS_OF_AN_HOUR, f"avg_over_time({EVENTS}{_range('1h')})"),
            Record(ERRORS_OF_AN_HOUR, f"avg_over_time({ERRORS}{_range('1h')})"),
            Record(
                BUDGET_LEFT,
                f"1 - (\nsum_over_time({ERRORS_OF_AN_HOUR}[30d:1h])\n/\n"
                f"(sum_over_time({EVENTS_OF_AN_HOUR}[30d:1h]) > 0)\n)\n"
                f"/ on (slo) group_left () (1 - {OBJECTIVE})",
            ),
        ),
    ),
    Group(
        "chatcluster-slo-alerts",
        "30s",
        (
            _alert(
                "ChatErrorBudgetBurnFast",
                Severity.PAGE,
                FAST,
                "At this rate the error budget of 30 days is used up within days; users notice it now.",
            ),
            _alert(
                "ChatErrorBudgetBurnSlow",
                Severity.TICKET,
                SLOW,
                "At this rate the error budget of 30 days does not last; few users notice it now.",
            ),
        ),
    ),
)
