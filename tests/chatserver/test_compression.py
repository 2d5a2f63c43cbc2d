"""Compression: which answers, for whom, and how many at once."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from sanic.response import HTTPResponse

from chatserver.apidocs.openapi import make_openapi
from chatserver.http.compression import THREAD_BYTES, THREADS, Compressor, gzip_padded, preferred_coding
from chatserver.http.routes.page import is_deep_link
from chatserver.routes import CALLS

if TYPE_CHECKING:
    from collections.abc import Iterator

GZIP = ["gzip, deflate, br"]


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        (["gzip"], "gzip"),
        (["GZIP"], "gzip"),
        (["gzip, deflate, br, zstd"], "br"),
        (["gzip;q=1.0, br;q=0"], "gzip"),
        (["deflate", "br"], "br"),
        (["*"], "br"),
        (["br;q=0.000, *;q=0.1"], "gzip"),
        (["identity"], None),
        (["gzip;q=0"], None),
        (["gzip; q = 0"], None),
        (["gzip;q=high"], None),
        (["gzipped"], None),
        ([""], None),
        ([], None),
    ],
)
def test_a_coding_is_one_that_the_client_accepts(values: list[str], coding: str | None) -> None:
    assert preferred_coding(values, ("br", "gzip")) == coding


@pytest.mark.parametrize("padding", [0, 1, 100])
def test_what_is_compressed_comes_back_and_its_padding_shows_in_its_length(padding: int) -> None:
    content = b'{"text": "hello"}' * 500
    made = gzip_padded(content, padding)
    assert zlib.decompress(made, 31) == content
    assert len(made) == len(gzip_padded(content, 0)) + padding


async def test_above_the_bound_a_large_answer_goes_out_as_it_is() -> None:
    compressor, content = Compressor(), b"a" * (THREAD_BYTES + 1)
    answers = [HTTPResponse(content) for _ in range(THREADS + 1)]
    await asyncio.gather(*(compressor.compress(GZIP, answer) for answer in answers))
    assert [answer.headers.get("Content-Encoding") for answer in answers] == ["gzip"] * THREADS + [None]
    assert answers[-1].body == content
    again = HTTPResponse(content)
    await compressor.compress(GZIP, again)
    assert zlib.decompress(again.body or b"", 31) == content


async def test_a_client_that_accepts_nothing_gets_the_answer_as_it_is() -> None:
    answer = HTTPResponse(b"a" * THREAD_BYTES, headers={"Vary": "Origin"})
    await Compressor().compress([], answer)
    assert answer.body == b"a" * THREAD_BYTES
    assert list(answer.headers.items()) == [("Vary", "Origin, Accept-Encoding")]


def properties(schema: Any, components: dict[str, Any], seen: set[str]) -> Iterator[str]:
    """Name all fields of a schema, at any depth."""
    if isinstance(schema, list):
        for inner in schema:
            yield from properties(inner, components, seen)
    if not isinstance(schema, dict):
        return
    reference = schema.get("$ref", "")
    if reference.startswith("#/components/schemas/") and reference not in seen:
        seen.add(reference)
        yield from properties(components[reference.rpartition("/")[2]], components, seen)
    yield from schema.get("properties", {})
    for inner in schema.values():
        yield from properties(inner, components, seen)


def test_no_answer_that_is_compressed_holds_a_secret() -> None:
    document = make_openapi(CALLS)
    components = document["components"]["schemas"]
    fields = {
        f"{path} {name}"
        for path, item in document["paths"].items()
        for name in properties(item.get("get", {}).get("responses", {}).get("200"), components, set())
    }
    assert "/api/messages text" in fields
    assert {field for field in fields if field.endswith((" token", " ticket", " dev_code", " code_id"))} == set()


@pytest.mark.parametrize(
    ("path", "accept", "deep"),
    [
        ("/chats/12", "text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("/settings", "TEXT/HTML", True),
        ("/a.b/c", "text/html", True),
        ("/chats/12", "*/*", False),
        ("/chats/12", "application/json", False),
        ("/api/nowhere", "text/html", False),
        ("/api", "text/html", False),
        ("/docs/more", "text/html", False),
        ("/favicon.ico", "text/html", False),
        ("/chats/.hidden", "text/html", False),
        ("*", "", False),
    ],
)
def test_a_deep_link_is_what_a_browser_shows(path: str, accept: str, *, deep: bool) -> None:
    assert is_deep_link(path, accept, {"api", "docs"}) == deep
