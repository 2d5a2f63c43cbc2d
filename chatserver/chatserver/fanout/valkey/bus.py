"""The bus by one or several Valkeys, each of which has a share of the users; NOTIFY is still heard."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from typing import TYPE_CHECKING

from chatserver import supervision
from chatserver.errors import ServiceUnavailable
from chatserver.fanout.valkey.addressing import addressed
from chatserver.fanout.valkey.limit_counts import LimitCounts
from chatserver.fanout.valkey.link import open_link
from chatserver.fanout.valkey.node import Node
from chatserver.fanout.valkey.scripts import Letter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from chatserver.bus_settings import BusSettings, ValkeyAddress
    from chatserver.fanout.bus import PostgresBus
    from chatserver.fanout.valkey.link import Link
    from chatserver.fanout.valkey.node import Callbacks
    from chatserver.fanout.valkey.scripts import Kind
    from chatserver.hints import ChatRows, Hint
    from chatserver.model import SeqRange


class ValkeyBus:
    """Sends hints to the servers of the users whom they concern.

    A user's registry and the hints for the user are on Valkey number ``user_id % len(bus_urls)``.

    Args:
        settings: where the Valkeys are.
        postgres: the NOTIFYs of database functions, and of servers that have no Valkey.
        server_name: of this server; a random part is added, since a container restarts under the same name.
        users: returns all users of this server.
        watched: returns all users whose presence somebody here watches.
        members_of: returns the members of a chat that this server knows; None: it knows none.
        rows_of: returns the messages of a range as a hint may carry them (``RenderedRows.take``).
        callbacks: what is called.

    Attributes:
        limit_counts: the rate limits that all servers count together.
        notifies_too: whether hints are sent by NOTIFY as well: there may be servers that have another bus.
    """

    def __init__(
        self,
        settings: BusSettings,
        postgres: PostgresBus,
        *,
        server_name: str,
        users: Callable[[], Iterable[int]],
        watched: Callable[[], Iterable[int]],
        members_of: Callable[[int], Collection[int] | None],
        rows_of: Callable[[SeqRange], tuple[ChatRows, ...]],
        callbacks: Callbacks,
    ) -> None:
        self._settings = settings
        self._postgres = postgres
        self.notifies_too = True
        self._members_of = members_of
        self._rows_of = rows_of
        self._on_hint = callbacks.on_hint
        self._server_name = server_name
        self._incarnation = f"{server_name}.{secrets.token_hex(4)}"

        def make_node(share: int, address: ValkeyAddress) -> Node:
            async def connect(on_message: Callable[[bytes], None]) -> Link:
                return await open_link(address, settings, on_message)

            return Node(
                connect,
                prefix=settings.bus_prefix,
                incarnation=self._incarnation,
                users=lambda: [user_id for user_id in users() if self._share_of(user_id) == share],
                watched=lambda: [user_id for user_id in watched() if self._share_of(user_id) == share],
                callbacks=callbacks,
            )

        self._nodes = [make_node(share, address) for share, address in enumerate(settings.bus_urls)]
        self.limit_counts = LimitCounts(self._nodes, settings.bus_prefix)

    def is_healthy(self) -> bool:
        """Return whether hints of all users, and NOTIFYs, arrive now, as far as can be known."""
        return self._postgres.is_healthy() and all(node.is_healthy() for node in self._nodes)

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Send hints; see ``Bus.publish``."""
        letters: list[list[Letter]] = [[] for _ in self._nodes]
        parts = (addressed(hint, self._members_of, self._rows_of) for hint in hints)
        for part, to, of in itertools.chain.from_iterable(parts):
            # This server's own batches need no way over the network; others keep their order among all servers.
            but = self._incarnation if part.is_batch and part.origin == self._server_name else ""
            line = part.encode_with_rows()
            if to is None:
                letters[self._for_everybody()].append(Letter(line, True, but))  # noqa: FBT003 - no flag
            else:
                for share, user_ids in self._shares(to):
                    letters[share].append(Letter(line, user_ids, but, of))
        await self._send(letters)
        if self.notifies_too:
            await self._postgres.publish(hints)
        for hint in hints:
            if hint.is_batch and hint.origin == self._server_name:
                self._on_hint(hint)

    async def _send(self, letters: Sequence[Sequence[Letter]]) -> None:
        sends = [node.publish(each) for node, each in zip(self._nodes, letters, strict=True) if each]
        if len(sends) == 1:
            await sends[0]
            return
        results = await asyncio.gather(*sends, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        # Whatever is not an outage is a defect, which must not be hidden by one.
        for failure in sorted(failures, key=lambda each: isinstance(each, ServiceUnavailable)):
            raise failure

    async def register(self, user_ids: Collection[int]) -> None:
        """Have hints for these users sent to this server; see ``Bus.register``."""
        await self._register(user_ids, "user")

    async def register_watched(self, user_ids: Collection[int]) -> None:
        """Have the presence of these users sent to this server; see ``Bus.register_watched``."""
        await self._register(user_ids, "watched")

    async def _register(self, user_ids: Collection[int], kind: Kind) -> None:
        await asyncio.gather(*(self._nodes[share].register(some, kind) for share, some in self._shares(user_ids)))

    async def run(self) -> None:
        """Receive hints until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            # Each on its own: what fails for one of them leaves the others.
            for listen in (self._postgres.run, *(node.run for node in self._nodes)):
                tasks.create_task(supervision.keep("bus", listen))

    def _for_everybody(self) -> int:
        """Return the number of a Valkey that answers, if there is one: all servers have a channel on each."""
        return next((share for share, node in enumerate(self._nodes) if node.is_connected()), 0)

    def _share_of(self, user_id: int) -> int:
        return user_id % len(self._settings.bus_urls)

    def _shares(self, user_ids: Iterable[int]) -> Iterable[tuple[int, list[int]]]:
        """Return the users of each Valkey that has any of these."""
        shares: dict[int, list[int]] = {}
        for user_id in user_ids:
            shares.setdefault(self._share_of(user_id), []).append(user_id)
        return shares.items()
