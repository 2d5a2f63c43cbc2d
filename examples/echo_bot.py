"""A bot that answers `!echo something` in each of its chats. It continues where it stopped, and answers nothing twice.

    uv run --extra client python examples/echo_bot.py https://chat.example.com echo-bot.json

The first run signs in: it prompts for the bot's phone number and the code that was sent to it. Later runs use the file.
docs/python-client.md explains each step.
"""

import argparse
import asyncio
import logging
import sys
import uuid
from pathlib import Path

import msgspec

from chatcluster_client import (
    ChatClientError,
    HistoryReplaced,
    Item,
    LiveClient,
    Positions,
    Problem,
    RestClient,
)

COMMAND = "!echo "
ANSWERS = uuid.UUID("5f1b0c7e-2f0a-4b42-9a57-0d9a4f6f3c11")
"""The namespace of the ids of answers: your bot needs its own UUID."""

REST_RETRY_SECONDS = 2.0

log = logging.getLogger("echo_bot")


class State(msgspec.Struct):
    """The state of the bot between runs; anybody with the token can act as the bot."""

    token: str
    user_id: int
    positions: Positions | None = None


def save(path: Path, state: State) -> None:
    """Replace the file atomically: a bot that is killed meanwhile finds the old one."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_bytes(msgspec.json.encode(state))
    new.replace(path)


async def sign_in(url: str) -> State:
    """Sign the bot in as a device of the user with a phone number."""
    phone_number = await asyncio.to_thread(input, "Phone number: ")
    code_id = await RestClient.request_code(url, phone_number)
    code = await asyncio.to_thread(input, "Code: ")
    async with await RestClient.sign_in(url, phone_number, code=code, code_id=code_id, device_name="echo bot") as rest:
        return State(rest.token, rest.user_id)


async def answer(live: LiveClient, item: Item) -> None:
    """Answer a row if it is a request."""
    if item.own or item.text is None or not item.text.startswith(COMMAND):
        return
    # The same id each time: a bot that is killed between the answer and `save` sends it again, and it is stored once.
    client_id = uuid.uuid5(ANSWERS, f"{item.chat_id}/{item.seq}")
    try:
        await live.send(item.text.removeprefix(COMMAND), chat_id=item.chat_id, client_id=str(client_id))
    except Problem as problem:
        # Rejected permanently: blocked, or no longer a member. Other chats still work.
        log.warning("no answer to row %d of chat %d: %s", item.seq, item.chat_id, problem)


async def where_all_chats_stand(rest: RestClient) -> Positions:
    """Return the initial positions: the bot does not answer messages from before its start."""
    while True:
        try:
            return await rest.positions()
        except Problem as problem:
            if not problem.retryable:
                raise
            await asyncio.sleep(problem.retry_after_seconds or REST_RETRY_SECONDS)


async def run(url: str, path: Path, state: State) -> None:
    """Answer until the client stops permanently.

    Raises:
        ChatClientError: It was signed out, another program uses its token, or its history is another one.
    """
    async with RestClient(url, state.token, state.user_id) as rest:
        if state.positions is None:
            state.positions = await where_all_chats_stand(rest)
            save(path, state)
        async with LiveClient(rest, state.positions) as live:
            log.info("listening")
            async for item in live.items():
                if isinstance(item, Item):
                    await answer(live, item)
                    state.positions.take(item)
                    save(path, state)


async def main() -> int:
    """Run the bot; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    if arguments.file.exists():
        state = msgspec.json.decode(arguments.file.read_bytes(), type=State)
    else:
        state = await sign_in(arguments.url)
        save(arguments.file, state)
    while True:
        try:
            await run(arguments.url, arguments.file, state)
        except HistoryReplaced:
            log.warning("the database was restored: beginning with what comes now")
            state.positions = None
        except ChatClientError as error:
            log.error("the bot stopped: %s: %s", type(error).__name__, error)  # noqa: TRY400 - no defect: no traceback
            return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
