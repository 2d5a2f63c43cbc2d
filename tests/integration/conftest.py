"""Fixtures of the tests on a real PostgreSQL: one private cluster a run, a fresh database a test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from chatserver.storage.migrate import migrate
from tests.support.browser import WEB, chromium, open_tab, user_agent
from tests.support.people import Server, running_server
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from playwright.async_api import Browser, BrowserContext

    from tests.support.browser import Tab


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A PostgreSQL cluster that all tests share; a test that stops it must start it again."""
    with PostgresCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresCluster) -> str:
    """Name of a database with the whole schema and nothing else, to copy from."""
    name = postgres.create_database()
    asyncio.run(migrate(lambda: postgres.dsn(name), wait_seconds=10))
    return name


@pytest.fixture
def read_dsn(postgres: PostgresCluster, migrated_template: str) -> Callable[[], str]:
    """Provider of the DSN of a fresh, migrated database."""
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    return lambda: dsn


@pytest.fixture(scope="module")
def process(postgres: PostgresCluster, migrated_template: str) -> Iterator[ServerProcess]:
    """One chatserver's process, with a database of its own, for all tests of a file: their people are others."""
    with ServerProcess(postgres.dsn(postgres.create_database(migrated_template)), "one") as running:
        running.wait_ready()
        yield running


@pytest.fixture
async def server(read_dsn: Callable[[], str]) -> AsyncIterator[Server]:
    """One chatserver's pool and writer on the fresh database."""
    async with running_server(read_dsn) as running:
        yield running


@pytest.fixture(scope="module")
def page_server(postgres: PostgresCluster, migrated_template: str) -> Iterator[ServerProcess]:
    """As `process`, with the page."""
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    with ServerProcess(dsn, "one", CHAT_WEB_ROOT=str(WEB)) as running:
        running.wait_ready()
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests of a file, which have to run in the module's loop."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """What tabs of one browser share."""
    async with user_agent(browser) as context:
        yield context


@pytest_asyncio.fixture(loop_scope="module")
async def tab(context: BrowserContext, page_server: ServerProcess) -> Tab:
    """A tab that has not loaded the page yet."""
    return await open_tab(context, page_server)
