"""The page as the image has it: built, compressed, cached, and shown at its own addresses."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.browser import WEB, open_tab
from tests.support.debian import unpacked
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import BrowserContext

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

BUILD = Path(__file__).parents[2] / "images" / "build" / "page.py"
FOR_EVER = "public, max-age=31536000, immutable"
COMPRESSED = (".gz", ".br")
NAVIGATION = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("web")
    subprocess.run([sys.executable, str(BUILD), str(WEB), str(folder)], check=True, timeout=60)
    by_brotli("--best", "--keep", *(str(folder / name) for name in files(folder) if not name.endswith(".gz")))
    return folder


def by_brotli(*arguments: str, content: bytes = b"") -> bytes:
    """Return what the image's Brotli writes."""
    program = unpacked("usr/bin/brotli", ("brotli", "libbrotli1", "libc6"))
    return subprocess.run([program, *arguments], input=content, capture_output=True, check=True, timeout=60).stdout


def files(built: Path) -> dict[str, bytes]:
    """Return the contents of the built files by name."""
    return {path.relative_to(built).as_posix(): path.read_bytes() for path in built.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def server(postgres: Any, migrated_template: str, built: Path) -> Iterator[ServerProcess]:
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with ServerProcess(dsn, "one", CHAT_WEB_ROOT=str(built)) as running:
        running.wait_ready()
        yield running


async def test_all_files_but_the_entry_page_have_a_hash_in_their_names(built: Path) -> None:
    contents = files(built)
    assert len(contents) == 3 * len(list(WEB.iterdir()))
    entry = {"index.html", "index.html.gz", "index.html.br"}
    assert {name for name in contents if not name.startswith("assets/")} == entry
    for name in contents:
        if not name.endswith(COMPRESSED):
            assert gzip.decompress(contents[f"{name}.gz"]) == contents[name]
            assert re.search(rb"[\"'(]/(?!assets/|api/)\w+\.\w+[\"')]", contents[name]) is None


async def test_files_are_cached_for_ever_and_the_entry_page_is_checked(server: ServerProcess, built: Path) -> None:
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
        for name, content in files(built).items():
            if name.endswith(COMPRESSED):
                continue
            address = "/" if name == "index.html" else f"/{name}"
            plain = await http.get(address, headers={"Accept-Encoding": "identity"})
            packed = await http.get(address, headers={"Accept-Encoding": "gzip"})
            assert plain.content == packed.content == content
            assert packed.headers["Content-Encoding"] == "gzip"
            assert plain.headers["ETag"] != packed.headers["ETag"]
            for answer in (plain, packed):
                assert answer.headers["Vary"] == "Accept-Encoding"
                assert answer.headers["Cache-Control"] == ("no-cache" if address == "/" else FOR_EVER)
            assert (await http.get(f"{address}.gz")).status_code == 404


async def test_brotli_goes_first(server: ServerProcess, built: Path) -> None:
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
        for accepted, coding in (("gzip, deflate, br, zstd", "br"), ("gzip, br;q=0", "gzip")):
            async with http.stream("GET", "/", headers={"Accept-Encoding": accepted}) as answer:
                assert answer.headers["Content-Encoding"] == coding
                sent = b"".join([part async for part in answer.aiter_raw()])
            content = by_brotli("--decompress", "--stdout", content=sent) if coding == "br" else gzip.decompress(sent)
            assert content == files(built)["index.html"]


async def test_addresses_of_the_page_are_answered_with_it_and_others_are_404(
    server: ServerProcess, built: Path
) -> None:
    async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
        for path in ("/chats/12", "/settings", "/chats/12/info?x=1"):
            page = await http.get(path, headers=NAVIGATION)
            assert (page.status_code, page.content) == (200, (built / "index.html").read_bytes())
            assert page.headers["Content-Type"] == "text/html; charset=utf-8"
            assert page.headers["Cache-Control"] == "no-cache"
            assert page.headers["Vary"] == "Accept, Accept-Encoding"
            assert "default-src 'self'" in page.headers["Content-Security-Policy"]
            again = await http.get(path, headers={**NAVIGATION, "If-None-Match": page.headers["ETag"]})
            assert again.status_code == 304
            assert (await http.get(path)).json()["code"] == "not_found"
            assert (await http.post(path, headers=NAVIGATION)).status_code == 404
        for path in ("/api/nowhere", "/api", "/docs/x", "/assets/x", "/metrics", "/x.js", "/livez/x"):
            assert (await http.get(path, headers=NAVIGATION)).status_code == 404, path


async def test_the_built_page_works_and_a_second_visit_loads_its_entry_alone(
    context: BrowserContext, server: ServerProcess
) -> None:
    tab = await open_tab(context, server)
    await tab.enter(f"ana{uuid.uuid4().hex[:8]}")
    await tab.connected()
    before = len(server.events())
    loaded: list[str] = []
    tab.page.on("response", lambda response: loaded.append(response.url))
    await tab.page.goto(f"{server.url}/chats/12")
    await tab.connected()
    routes = [event["route"] for event in server.events()[before:] if event.get("event") == "request"]
    assert "unmatched" in routes
    assert [route for route in routes if route.startswith("/assets/")] == []
    assert any("/assets/app." in url for url in loaded)
