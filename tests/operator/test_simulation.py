"""The simulator: traces read and made up, runs that keep the autoscaler's promises, drawings that show them."""

from __future__ import annotations

import random
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatoperator.__main__ import main
from chatoperator.autoscaling.autoscaler import Policy
from chatoperator.autoscaling.simulation import Delays, simulate, totals
from chatoperator.autoscaling.simulation.plot import as_svg, as_text, clock
from chatoperator.autoscaling.simulation.traces import DAY_SECONDS, Trace, read, synthetic_day
from chatoperator.errors import TraceError

if TYPE_CHECKING:
    from pathlib import Path

POLICY = Policy(target=10_000, min_replicas=2, max_replicas=10, stabilization_seconds=300)
DELAYS = Delays(start_seconds=20, drain_seconds=30)


def _day(seed: int) -> Trace:
    return synthetic_day(60_000, random.Random(seed))  # noqa: S311 - noise, no secret


def test_a_recording_is_read_from_its_first_second_on() -> None:
    trace = read("seconds,connections\n100,10\n\n160.5,40\n")
    assert trace == Trace((0, 60.5), (10, 40))
    assert [trace.at(at) for at in (-5, 0, 30.25, 60.5, 99)] == [10, 10, 25, 40, 40]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: the header must be seconds,connections"),
        ("time,users\n0,1\n", "line 1: the header must be seconds,connections"),
        ("seconds,connections\n0,1\n", "the file: it has fewer than two lines below the header"),
        ("seconds,connections\n0,1\n0,2\n", "line 3: its seconds are not greater"),
        ("seconds,connections\n0,many\n", "line 2: '0,many' is not of the form seconds,connections"),
        ("seconds,connections\n0\n", "line 2: '0' is not of the form seconds,connections"),
        ("seconds,connections\n0,-1\n", "line 2: seconds must be a finite number and connections at least 0"),
        ("seconds,connections\nnan,1\n", "line 2: seconds must be a finite number and connections at least 0"),
    ],
)
def test_a_bad_recording_names_the_line_and_the_remedy(text: str, sentence: str) -> None:
    with pytest.raises(TraceError) as refused:
        read(text)
    assert str(refused.value).startswith(sentence)


def test_a_made_up_day_is_the_same_for_the_same_seed() -> None:
    day = _day(1)
    assert day == _day(1)
    assert day != _day(2)
    assert day.duration == DAY_SECONDS
    assert day.at(4 * 3600) < day.at(12 * 3600) < day.at(20 * 3600) < day.at(21 * 3600)


def test_a_day_scales_up_once_and_down_once() -> None:
    """The climb, the crowd and the night: one turn, no server much over its target, few spare hours."""
    steps = simulate(_day(1), POLICY, DELAYS)
    sums = totals(steps, POLICY)
    assert (sums.fewest, sums.most, sums.turns) == (2, 8, 1)
    assert sums.fullest < 1.25 * POLICY.target
    assert sums.server_hours < 1.1 * sums.needed_hours


def test_servers_take_their_time_to_start_and_to_drain() -> None:
    policy = Policy(target=10, min_replicas=1, max_replicas=10, stabilization_seconds=0)
    trace = Trace((0, 29, 30, 300), (5, 5, 25, 25))
    steps = simulate(trace, policy, Delays(start_seconds=40, drain_seconds=30))
    assert [(step.desired, step.ready) for step in steps[:6]] == [(1, 1), (1, 1), (3, 1), (3, 1), (3, 1), (3, 3)]
    assert steps[2].fullest == steps[4].fullest == 25
    assert steps[5].fullest == 25, "clients stay where they are"


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(0, 200_000), min_size=2, max_size=40),
    gap=st.integers(5, 400),
    window=st.sampled_from([0, 60, 300]),
    delays=st.builds(Delays, st.integers(0, 120), st.integers(0, 120)),
)
def test_no_connection_is_lost_or_made_up_in_any_run(counts: list[int], gap: int, window: int, delays: Delays) -> None:
    trace = Trace(tuple(float(n * gap) for n in range(len(counts))), tuple(counts))
    policy = Policy(10_000, 2, 10, window)
    for step in simulate(trace, policy, delays):
        assert policy.min_replicas <= step.desired <= policy.max_replicas
        assert step.ready >= 1
        assert step.fullest * step.ready >= step.connections
        assert step.fullest <= step.connections


def test_the_drawings_show_servers_over_connections() -> None:
    steps = simulate(Trace((0, 600, 1200), (15_000, 45_000, 45_000)), POLICY, DELAYS)
    text = as_text(steps, POLICY)
    assert "2→3" in text
    assert "4→5" in text
    assert "00:05:00" in text
    assert "chatservers     2 to 5; added 3 times, removed 0 times" in text
    assert max(len(line) for line in text.splitlines()[:18]) <= 80
    drawn = ET.fromstring(as_svg(steps, POLICY))  # noqa: S314 - made here
    path = drawn.find("{http://www.w3.org/2000/svg}path")
    assert path is not None
    assert len(set(path.attrib["d"].split("V")[1:])) >= 4


def test_a_number_that_never_changes_is_said_in_words() -> None:
    steps = simulate(Trace((0, 60), (0, 0)), POLICY, DELAYS)
    assert "the number of chatservers does not change" in as_text(steps, POLICY)


def test_times_are_read_from_a_clock() -> None:
    assert clock(3661) == "01:01:01"


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, svg = tmp_path / "trace.csv", tmp_path / "out.svg"
    trace.write_text("seconds,connections\n0,5\n600,95\n")
    main(["simulate", "--trace", str(trace), "--target", "10", "--max", "6", "--svg", str(svg)])
    assert "2 to 6" in capsys.readouterr().out
    assert svg.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trace", "/does/not/exist"], "No such file"),
        (["--synthetic", "day", "--min", "5", "--max", "4"], "--min 5 is greater than --max 4"),
        (["--synthetic", "day", "--target", "0"], "0 is less than 1"),
        ([], "one of the arguments --trace --synthetic is required"),
    ],
)
def test_wrong_arguments_are_refused_in_words(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["simulate", *arguments])
    assert refused.value.code == 2
    assert sentence in capsys.readouterr().err


def test_the_simulator_needs_none_of_the_operators_libraries() -> None:
    """A plain `uv run chatoperator simulate` has none of them."""
    hidden = ["aiohttp", "cryptography", "kopf", "kubernetes", "prometheus_client", "structlog", "yaml"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden}))\n"
        "from chatoperator.__main__ import main; main(['simulate', '--synthetic', 'day'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "chatservers     2 to 8" in done.stdout
