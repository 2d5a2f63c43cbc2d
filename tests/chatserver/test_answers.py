"""Headers of answers are what Sanic makes of them."""

from __future__ import annotations

import pytest
from sanic.response import HTTPResponse

from chatserver.http.sanic_server import ApiResponse


@pytest.mark.parametrize("value", ["", "nosniff", "a\r\nSet-Cookie: b", "\x00", "tab\there", "é", "\x85", "\udc80"])
def test_names_and_values_are_written_as_sanic_writes_them(value: str) -> None:
    ours, theirs = (kind(b"{}", 200, {"X-Value": value}, "application/json") for kind in (ApiResponse, HTTPResponse))
    assert list(ours.processed_headers) == list(theirs.processed_headers)
    assert not any(byte in written for pair in ours.processed_headers for written in pair for byte in b"\r\n\x00")
