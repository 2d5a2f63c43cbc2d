"""People, chats and messages for integration tests, made through the server's own functions."""

from __future__ import annotations

import dataclasses
import itertools
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from chatserver.accounts.code_limits import CodeLimits
from chatserver.accounts.number_change import change_number
from chatserver.accounts.sign_in import Accounts
from chatserver.messaging.messages import send_message
from chatserver.messaging.receipts import Receipts
from chatserver.messaging.send_times import Arrival
from chatserver.messaging.writer import MessageWriter
from chatserver.model import Principal, SendMessage, SentMessage, SignIn
from chatserver.storage.database import Database, single_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from chatserver.model import CodeRequest, User

_numbers = itertools.count(1)


def new_number() -> str:
    """Return a phone number that no test had before."""
    return f"+1555{next(_numbers):07d}"


def arrival() -> Arrival:
    """Return that of a request which has just been read."""
    return Arrival(time.monotonic(), "request_id", "of a test")


LIMITS = CodeLimits(per_address_per_hour=100_000, per_number_per_hour=5, per_hour=1_000_000)


def make_accounts(database: Database, secret_key: bytes = b"k" * 32, **limits: Any) -> Accounts:
    """Make the service of sign-ins, with limits that tests do not meet but for those they name."""
    return Accounts(database, secret_key=secret_key, limits=dataclasses.replace(LIMITS, **limits))


async def sign_in(database: Database, username: str | None = None, phone_number: str | None = None) -> SignIn:
    """Make an account, or another device of one."""
    accounts = make_accounts(database)
    request = await accounts.request_code(phone_number or new_number(), "192.0.2.1")
    return await accounts.create_session(request.phone_number, request.code, username=username, code_id=request.code_id)


def principal_of(session: SignIn) -> Principal:
    """Return whom a sign-in lets call."""
    return Principal(session.user.user_id, session.device_id)


class Server(msgspec.Struct, frozen=True):
    """What one chatserver process holds of the database."""

    database: Database
    writer: MessageWriter
    receipts: Receipts
    read_dsn: Callable[[], str]

    async def fill(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a statement that makes many rows, for as long as it takes: a call of the pool has a few seconds."""
        async with single_connection(self.read_dsn, "filling") as connection:
            rows = await connection.fetch(query, *arguments)
            # The statistics of a connection that ends arrive later.
            await connection.execute("SELECT pg_stat_force_next_flush()")
            return rows

    async def send(
        self,
        sender_id: int,
        text: str,
        *,
        to: str | None = None,
        chat_id: int | None = None,
        client_id: str | None = None,
        reply_to: int | None = None,
    ) -> SentMessage:
        message = SendMessage(to=to, chat_id=chat_id, text=text, client_id=client_id, reply_to=reply_to)
        return await send_message(self.database, self.writer, sender_id, message)


async def people(server: Server, *names: str) -> list[int]:
    """Make accounts with these usernames; returns their ids."""
    return [(await sign_in(server.database, name)).user.user_id for name in names]


async def change_number_to(
    server: Server, accounts: Accounts, session: SignIn, code: CodeRequest, address: str, *, pin: str | None = None
) -> User:
    """Give an account the number to which a code was sent."""
    principal = principal_of(session)
    return await change_number(
        server.database,
        accounts,
        principal,
        code.phone_number,
        code.code,
        code_id=code.code_id,
        pin=pin,
        address=address,
    )


@asynccontextmanager
async def running_server(
    read_dsn: Callable[[], str], name: str = "server-1", pool_size: int = 6
) -> AsyncIterator[Server]:
    """Run a database pool and a writer."""
    database = await Database(read_dsn, server_name=name, pool_size=pool_size).open()
    writer = MessageWriter(database)
    writer.start()
    try:
        yield Server(database, writer, Receipts(database), read_dsn)
    finally:
        await writer.close(timeout_seconds=2)
        await database.close(timeout_seconds=2)
