"""CORS: pages of allowed origins can use what the calls declare."""

from __future__ import annotations

from chatserver.http.cors import EXPOSED_HEADERS, METHODS
from chatserver.routes import CALLS

OF_BROWSERS = {"Set-Cookie", "ETag"}
"""Headers that no script reads."""


def test_a_page_can_read_each_header_and_use_each_method_of_a_call() -> None:
    calls = [call for call in CALLS if call.path.startswith("/api/")]
    declared = {name for call in calls for name, _ in call.headers}
    assert {"X-Next-Since", "X-More"} <= declared
    assert declared - OF_BROWSERS <= set(EXPOSED_HEADERS.split(", "))
    assert {call.method for call in calls} <= set(METHODS.split(", "))
