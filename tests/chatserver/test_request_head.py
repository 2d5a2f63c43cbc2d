"""What a request's head says, or why it is none: the same whoever reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.errors import BadRequest, ChatError
from chatserver.http.request_head import RequestHead, is_cut_short, read_chunk, read_head, tokens


def read(*lines: str, first: str = "POST /x HTTP/1.1", host: str = "Host: a") -> RequestHead:
    return read_head("\r\n".join([first, *([host] if host else []), *lines]).encode("latin-1"))


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([], 0),
        (["Content-Length: 0"], 0),
        (["content-length:\t 12 "], 12),
        (["Transfer-Encoding: Chunked"], None),
    ],
)
def test_a_body_has_one_length(lines: list[str], length: int | None) -> None:
    assert read(*lines).length == length


@pytest.mark.parametrize(
    ("version", "lines", "keep_alive"),
    [
        ("1.1", [], True),
        ("1.1", ["Connection: keep-alive"], True),
        ("1.1", ["Connection: Upgrade"], True),
        ("1.1", ["Connection: x, Close"], False),
        ("1.1", ["Connection: keep-alive", "Connection: close"], False),
        ("1.0", [], False),
        ("1.0", ["Connection: x", "Connection: Keep-Alive"], True),
        ("1.0", ["Connection: keep-alive, close"], False),
    ],
)
def test_a_connection_goes_on_as_all_its_options_say(version: str, lines: list[str], *, keep_alive: bool) -> None:
    assert read(*lines, first=f"GET /x HTTP/{version}").keep_alive is keep_alive


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("/a?b=c", "a", "/a?b=c"),
        ("http://a/b?c", "a", "/b?c"),
        ("https://A:443/b", "a:443", "/b"),
        ("http://a", "a", "/"),
        ("http://a?b", "a", "/?b"),
        ("/http://a/b", "a", "/http://a/b"),
    ],
)
def test_an_address_is_a_path_and_a_query(target: str, host: str, expected: str) -> None:
    head = read(first=f"GET {target} HTTP/1.1", host=f"Host: {host}")
    assert head.target == expected
    assert dict(head.fields)["host"] == host


def test_an_old_client_names_its_host_in_the_address_or_not_at_all() -> None:
    assert dict(read(first="GET http://a/ HTTP/1.0", host="").fields) == {"host": "a"}
    assert read(first="GET / HTTP/1.0", host="").fields == []


def test_lines_of_one_name_stay_apart_and_bytes_stay_as_they_are() -> None:
    assert read("A: 1", "a:2", "B:\xff\x80").fields == [("host", "a"), ("a", "1"), ("a", "2"), ("b", "\xff\x80")]


@pytest.mark.parametrize(
    ("lines", "upgrades"),
    [
        (["Upgrade: WebSocket"], True),
        (["Upgrade: h2c", "Upgrade: websocket"], True),
        (["Upgrade: websockets"], False),
        ([], False),
    ],
)
def test_a_request_asks_for_a_websocket_by_one_of_its_upgrades(lines: list[str], *, upgrades: bool) -> None:
    assert read(*lines, first="GET /api/ws HTTP/1.1").upgrades is upgrades
    assert not read(*lines, first="HEAD /api/ws HTTP/1.1").upgrades


def test_a_list_has_members_however_its_lines_are_written() -> None:
    assert tokens(["keep-alive", " ,Upgrade ,,\tX", ""]) == ["keep-alive", "upgrade", "x"]


def test_a_line_that_lf_alone_ends_is_seen_before_the_head_is_whole() -> None:
    assert is_cut_short(b"GET / HTTP/1.1\n")
    assert not is_cut_short(b"GET / HTTP/1.1\r\nA: b\r")


@pytest.mark.parametrize(("line", "size"), [(b"0", 0), (b"00a", 10), (b"FF;x=y;z", 255), (b"1 ;x", 1)])
def test_a_chunk_has_a_size(line: bytes, size: int) -> None:
    assert read_chunk(b"\r\n" + line + b"\r\n") == size


PIECES = st.sampled_from(
    [
        b"GET",
        b"POST",
        b" ",
        b"/",
        b"//",
        b"*",
        b"?",
        b"#",
        b"%",
        b"%41",
        b"%ff",
        b"http://a",
        b"HTTP/1.1",
        b"\r\n",
        b"\n",
        b"Host: a",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b":",
        b"\x00",
        b"\xff",
        b"x",
    ]
)


@given(st.lists(PIECES, max_size=20), st.binary(max_size=5))
def test_whatever_comes_is_a_request_or_an_error_for_its_sender(pieces: list[bytes], more: bytes) -> None:
    try:
        head = read_head(b"".join(pieces) + more)
    except ChatError as error:
        assert isinstance(error, BadRequest) or error.status in {405, 413}
    else:
        assert head.target.startswith("/")
        assert head.target.isascii()
        assert not {name for name, _ in head.fields} & {"", " "}
        assert all("\r" not in value and "\n" not in value for _, value in head.fields)
