"""`chatserver probe` on real servers and a real PostgreSQL: what it counts when all is well, and in a failure."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from chatcluster_client import RestClient
from chatserver.probe.accounts import DevelopmentCodes
from chatserver.probe.attempts import Attempts
from chatserver.probe.certificate import Trust
from chatserver.probe.metrics import ProbeMetrics
from chatserver.probe.options import PHONE_NUMBERS
from tests.support import forks
from tests.support.certificates import issued
from tests.support.clientproxy import ClientProxy
from tests.support.databaseproxy import DatabaseProxy
from tests.support.probe import ProbeProcess
from tests.support.server import IMPORTED, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chatoperator.parts.credentials import Certificate
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

ROUND_TRIPS = "chatprobe_round_trip_seconds_count"
NOTHING = {"lost": 0.0, "duplicated": 0.0, "reordered": 0.0}


def failures(step: str) -> str:
    return f'chatprobe_failures_total{{step="{step}"}}'


async def sign_in(url: str, number: int) -> RestClient:
    return await RestClient.sign_in(url, PHONE_NUMBERS[number])


async def write_tokens(url: str, file: Path) -> list[RestClient]:
    accounts = [await sign_in(url, number) for number in range(2)]
    write(file, accounts)
    return accounts


def write(file: Path, accounts: list[RestClient]) -> None:
    file.touch(mode=0o600)
    file.write_text("\n".join(account.token for account in accounts))


async def test_round_trips_are_counted_and_nothing_fails(process: ServerProcess) -> None:
    with ProbeProcess(process.url) as probe:
        await probe.wait_more(ROUND_TRIPS, 5)
        assert await probe.metric("chatprobe_attempts_total") >= 5
        assert [await probe.metric(failures(step)) for step in ("sign_in", "connect", "send", "receive")] == [0] * 4
        assert await probe.invariants() == NOTHING
        assert time.time() - await probe.metric("chatprobe_last_success_timestamp_seconds") < 60
        page = await probe.page()
        assert "\nchatprobe_certificate_expiry_timestamp_seconds " not in page, "without TLS there is none"
        assert "_created" not in page
        assert probe.stop() == 0


async def test_a_probe_that_starts_again_takes_nothing_of_the_history_for_its_own(
    process: ServerProcess, tmp_path: Path
) -> None:
    accounts = await write_tokens(process.url, tmp_path / "tokens")
    for _ in range(2):
        with ProbeProcess(process.url, "--token-file", str(tmp_path / "tokens")) as probe:
            await probe.wait_more(ROUND_TRIPS)
            assert await probe.invariants() == NOTHING
            assert probe.stop() == 0
            assert not any(account.token in probe.log_text() for account in accounts)
    for account in accounts:
        await account.close()


async def test_two_probes_with_the_same_accounts_report_each_other_and_count_nothing_as_doubled(
    process: ServerProcess, tmp_path: Path
) -> None:
    accounts = await write_tokens(process.url, tmp_path / "tokens")
    options = ("--token-file", str(tmp_path / "tokens"))
    with ProbeProcess(process.url, *options) as one, ProbeProcess(process.url, *options) as two:
        async with asyncio.timeout(60):
            while "another program uses this token" not in one.log_text() + two.log_text():
                await asyncio.sleep(0.2)
        for probe in (one, two):
            await probe.wait_more(ROUND_TRIPS, 1)
            assert await probe.invariants() == NOTHING
    for account in accounts:
        await account.close()


async def test_a_server_that_stops_is_failed_attempts_and_round_trips_go_on_once_it_is_back(
    read_dsn: Callable[[], str],
) -> None:
    async with ClientProxy() as proxy:
        with ServerProcess(read_dsn(), "one") as one:
            one.wait_ready()
            proxy.servers = [one]
            with ProbeProcess(proxy.url) as probe:
                await probe.wait_more(ROUND_TRIPS)
                proxy.refuses = True
                proxy.cut()
                await probe.wait(failures("connect"), lambda value: value >= 1)
                proxy.refuses = False
                await probe.wait_more(ROUND_TRIPS)
                assert await probe.invariants() == NOTHING


async def test_a_database_that_stops_is_sends_that_fail_and_nothing_is_lost(
    postgres: PostgresCluster, read_dsn: Callable[[], str]
) -> None:
    with ServerProcess(read_dsn(), "one") as server:
        server.wait_ready()
        with ProbeProcess(server.url) as probe:
            await probe.wait_more(ROUND_TRIPS)
            await asyncio.to_thread(postgres.stop, "immediate")
            try:
                await probe.wait(failures("send"), lambda value: value >= 1)
            finally:
                await asyncio.to_thread(postgres.start)
            await probe.wait_more(ROUND_TRIPS)
            assert await probe.invariants() == NOTHING


async def test_a_lost_bus_is_a_slow_round_trip_and_no_lost_message(
    postgres: PostgresCluster, migrated_template: str
) -> None:
    database = postgres.create_database(migrated_template)
    async with DatabaseProxy(postgres.port) as between:
        with (
            ServerProcess(postgres.dsn(database), "one") as one,
            ServerProcess(between.dsn(database), "two") as two,
        ):
            # In a thread: the proxy between the second one and its database runs in this event loop.
            await asyncio.to_thread(one.wait_ready)
            await asyncio.to_thread(two.wait_ready)
            metrics = ProbeMetrics()
            attempts = Attempts(one.url, DevelopmentCodes(PHONE_NUMBERS), Trust(insecure=True), metrics)
            attempts._receiver._url = two.url
            connections = asyncio.create_task(attempts.run_connections())
            try:
                first = await attempts.attempt()
                assert (first.step, first.text.endswith("from one to two")) == (None, True), first
                between.swallow()
                assert (await attempts.attempt()).step is None
                between.release()
                assert (await attempts.attempt()).step is None
            finally:
                connections.cancel()
                await asyncio.gather(connections, return_exceptions=True)

            def value(name: str) -> float:
                found = metrics.registry.get_sample_value(name)
                assert found is not None
                return found

            assert value(ROUND_TRIPS) == 3
            assert value("chatprobe_round_trip_seconds_sum") > 1, "the second one waited for a look at the chats"
            assert value("chatprobe_lost_total") == 0


async def test_a_row_that_is_stored_twice_is_counted_as_doubled_and_as_nothing_else(
    postgres: PostgresCluster, migrated_template: str
) -> None:
    database = postgres.create_database(migrated_template)
    with ServerProcess(postgres.dsn(database), "one") as server:
        server.wait_ready()
        with ProbeProcess(server.url) as probe:
            await probe.wait_more(ROUND_TRIPS)
            # The defect is put in by hand: the newest row once more, under the next number.
            await asyncio.to_thread(
                postgres.sql,
                "BEGIN; SELECT FROM chats FOR UPDATE; "
                "INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) SELECT chat_id, seq + 1, "
                "sender_id, message_text, created_at FROM messages ORDER BY seq DESC LIMIT 1; "
                "UPDATE chats SET last_seq = last_seq + 1, last_xact = pg_current_xact_id(); COMMIT",
                database,
            )
            await probe.wait("chatprobe_duplicated_total", lambda value: value == 1)
            await probe.wait_more(ROUND_TRIPS)
            assert await probe.metric("chatprobe_reordered_total") == 0
            assert await probe.metric("chatprobe_lost_total") == 0


async def test_a_token_that_was_revoked_fails_to_sign_in_until_the_file_has_another(
    process: ServerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    accounts = await write_tokens(process.url, file)
    with ProbeProcess(process.url, "--token-file", str(file)) as probe:
        await probe.wait_more(ROUND_TRIPS)
        await accounts[1].call("DELETE", "/api/auth/session")
        await probe.wait(failures("sign_in"), lambda value: value >= 1)
        again = await write_tokens(process.url, file)
        await probe.wait_more(ROUND_TRIPS)
        assert not any(account.token in probe.log_text() for account in [*accounts, *again])
    for account in [*accounts, *again]:
        await account.close()


def serving(certificate: Certificate, folder: Path) -> ssl.SSLContext:
    """How a proxy serves a certificate, which is in the file tls.crt."""
    (folder / "tls.crt").write_text(certificate.certificate)
    (folder / "tls.key").write_text(certificate.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


async def once(url: str, *options: str) -> tuple[int, str]:
    """The exit code and the line of one attempt."""
    command = ["probe", "--url", url, "--once", *options]
    return await asyncio.to_thread(forks.run, "chatserver", command, os.environ, IMPORTED)


async def test_only_the_certificate_that_was_given_is_accepted(process: ServerProcess, tmp_path: Path) -> None:
    served = issued(["chat.example.com"])
    other = tmp_path / "other.crt"
    write_text(other, issued(["chat.example.com"]).certificate)
    async with ClientProxy(serving(served, tmp_path)) as proxy:
        proxy.servers = [process]
        mine = str(tmp_path / "tls.crt")
        done = await asyncio.gather(
            once(proxy.url, "--certificate-file", mine),
            once(proxy.url, "--insecure"),
            once(proxy.url, "--certificate-file", str(other)),
            # As an authority it would do, but its name is not that of the URL.
            once(proxy.url, "--ca-file", mine),
            once(proxy.url),
        )
    assert [code for code, _ in done] == [0, 0, 1, 1, 1], done
    assert all(line.startswith("failed: sign_in:") for code, line in done if code), done


@pytest.mark.parametrize("days", [-1.0, 90.0])
async def test_the_expiry_of_the_certificate_is_exported_also_when_it_is_over(
    process: ServerProcess, tmp_path: Path, days: float
) -> None:
    since = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(days=10)
    served = issued(["chat.example.com"], since=since, days=10 + days)
    async with ClientProxy(serving(served, tmp_path)) as proxy:
        proxy.servers = [process]
        with ProbeProcess(proxy.url, "--insecure") as probe:
            await probe.wait_more(ROUND_TRIPS, 1)
            async with asyncio.timeout(60):
                while "\nchatprobe_certificate_expiry_timestamp_seconds " not in await probe.page():
                    await asyncio.sleep(0.2)
            expires = await probe.metric("chatprobe_certificate_expiry_timestamp_seconds")
    assert expires == (since + dt.timedelta(days=10 + days)).timestamp()


def write_text(file: Path, text: str) -> None:
    file.write_text(text)
