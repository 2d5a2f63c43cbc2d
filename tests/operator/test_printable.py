"""What others write into images and messages never moves the cursor of who reads conditions and Events."""

import io
import json
import logging

import structlog
from hypothesis import given
from hypothesis import strategies as st

from chatoperator import logs
from chatoperator.conditions.declared import Condition
from chatoperator.reporting import events, status
from chatoperator.reporting.printable import printable
from tests.support.chatclusters import body

HOSTILE = "image \x1b[2Jevil\x9b1m \u202egnp\x00 cannot be pulled\nReady is True"


def shown(text: str) -> None:
    assert [letter for letter in text if not letter.isprintable()] == []


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    shown(printable(text))
    assert printable(printable(text)) == printable(text)


def test_plain_words_stay_as_they_are() -> None:
    words = "Secret “web-tls” läuft ab: 😀"
    assert printable(words) == words


def test_conditions_and_events_are_printable() -> None:
    made = status.merge([], [Condition("Ready", "False", "NotReady", HOSTILE)], generation=1, now="n")
    shown(made[0]["message"])
    news = events.EventContent(warning=True, reason="NotReady", message=HOSTILE)
    shown(events.event(body(), news, pod_name="p", now="n", suffix="s")["message"])


def test_a_log_line_is_one_line_of_ascii() -> None:
    logs.configure("INFO")
    try:
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(out := io.StringIO())
        structlog.get_logger("x").warning("condition", message=HOSTILE)
        line = out.getvalue().removesuffix("\n")
        shown(line)
        assert line.isascii()
        assert json.loads(line)["message"] == HOSTILE
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers = []
