"""Query parameters: what the documents say of each is what its call takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest

from chatserver.errors import ValidationFailed
from chatserver.http.call import Call
from chatserver.http.query import (
    ChoiceParameter,
    FlagParameter,
    NumberParameter,
    OptionalNumberParameter,
    Query,
    TextParameter,
)

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

    from chatserver.http.context import Request

NAME = TextParameter("name", "A name.")
LIMIT = NumberParameter("limit", "Rows at most.", least=1, most=100, default=50)
AFTER = OptionalNumberParameter("after", "Rows above this seq.", most=9)
EVENTS = FlagParameter("events", "Whether to return events.")
WHOM = ChoiceParameter("for", "For whom.", ("everyone", "me"), default="everyone")


async def handler(_request: Request) -> HTTPResponse:
    """Answer nothing."""
    raise NotImplementedError


CALL = Call(handler, "GET /api/things", query=(NAME, LIMIT, AFTER, EVENTS, WHOM))


class _Request:
    """A request to a call, with a query."""

    def __init__(self, query: str) -> None:
        self.route = SimpleNamespace(ctx=SimpleNamespace(call=CALL))
        self._query = query

    def get_query_args(self, *, keep_blank_values: bool) -> list[tuple[str, str]]:
        return parse_qsl(self._query, keep_blank_values=keep_blank_values)


def query(text: str) -> Query:
    return Query(_Request(text))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "name=&limit=&after=&events=&for="])
def test_a_parameter_that_is_empty_or_missing_has_its_default(text: str) -> None:
    found = query(text)
    assert [found[parameter] for parameter in CALL.query] == [None, 50, None, False, "everyone"]


def test_parameters_are_read_as_their_types() -> None:
    found = query("name=ana&limit=100&after=0&events=1&for=me")
    assert [found[parameter] for parameter in CALL.query] == ["ana", 100, 0, True, "me"]


@pytest.mark.parametrize(
    ("text", "parameter", "path"),
    [
        ("limit=0", LIMIT, "limit"),
        ("limit=101", LIMIT, "limit"),
        ("limit=1_0", LIMIT, "limit"),
        ("after=10", AFTER, "after"),
        ("after=%D9%A1", AFTER, "after"),
        ("events=yes", EVENTS, "events"),
        ("for=you", WHOM, "for"),
        ("x=1", NAME, "x"),
        ("name=a&name=b", NAME, "name"),
        ("name=&name=", NAME, "name"),
    ],
)
def test_what_a_parameter_does_not_take_is_rejected_by_its_name(text: str, parameter: Any, path: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        _ = query(text)[parameter]
    assert [error.path for error in caught.value.errors] == [path]


def test_a_handler_reads_only_what_its_call_declares() -> None:
    with pytest.raises(KeyError):
        _ = query("")[TextParameter("other", "Not declared.")]
