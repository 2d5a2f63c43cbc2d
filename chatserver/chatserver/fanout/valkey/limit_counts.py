"""The count of rate limits that all servers share, by Valkey.

The key ``:limit:SUBJECT``, after the prefix, exists while the bucket of a subject is not full: its expiry is the moment
at which it will be. So it needs no value, nobody reads a clock, and what is idle takes no memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from chatserver.errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.fanout.valkey.node import Node
    from chatserver.limits.sharing import Usage

log = structlog.get_logger()

USAGES_TOGETHER: Final = 500
"""Usages that one command counts: about a millisecond of Valkey, in which it does nothing else."""

# An error is an answer, as the rate limits alone suffer from it: one of the command would end the connection. Where
# there is no key, and the server knows that the bucket was not full, Valkey has lost it.
COUNT: Final = """
local answers = {}
for i, usage in ipairs(cmsgpack.unpack(ARGV[2])) do
  local key = ARGV[1] .. ':limit:' .. usage[1]
  local busy = redis.pcall('PTTL', key)
  if type(busy) == 'table' then return busy.err end
  if busy < 0 then busy = usage[3] end
  busy = busy + usage[2]
  local kept = redis.pcall('SET', key, '', 'PX', string.format('%.0f', busy))
  if kept.err then return kept.err end
  answers[i] = busy
end
return answers
"""

_ENCODER: Final = msgspec.msgpack.Encoder()


class LimitCounts:
    """Counts usages on the Valkey of each subject: number ``Usage.number`` modulo their count.

    Args:
        nodes: the Valkeys.
        prefix: of keys.
    """

    def __init__(self, nodes: Sequence[Node], prefix: str) -> None:
        self._nodes = nodes
        self._prefix = prefix
        self._refusing: set[int] = set()

    def is_counting(self) -> bool:
        """Return whether all usages are counted now, as far as is known."""
        return not self._refusing and all(node.is_connected() for node in self._nodes)

    async def count(self, usages: Sequence[Usage]) -> list[int | None]:
        """Add usages; see ``LimitSharing``."""
        counted: list[int | None] = [None] * len(usages)
        shares: dict[int, list[int]] = {}
        for place, usage in enumerate(usages):
            shares.setdefault(usage.number % len(self._nodes), []).append(place)

        async def count_share(share: int, places: Sequence[int]) -> None:
            for start in range(0, len(places), USAGES_TOGETHER):
                some = places[start : start + USAGES_TOGETHER]
                answers = await self._call(share, [usages[place] for place in some])
                for place, busy_ms in zip(some, answers, strict=True):
                    counted[place] = busy_ms

        await asyncio.gather(*(count_share(share, places) for share, places in shares.items()))
        return counted

    async def _call(self, share: int, usages: Sequence[Usage]) -> Sequence[int | None]:
        packed = _ENCODER.encode([(usage.subject, usage.taken_ms, usage.known_ms) for usage in usages])
        try:
            reply = await self._nodes[share].call("EVAL", COUNT, 0, self._prefix, packed)
        except ServiceUnavailable:
            return [None] * len(usages)
        if isinstance(reply, list):
            self._refusing.discard(share)
            return reply
        if share not in self._refusing:
            self._refusing.add(share)
            # Only the kind of error, such as OOM or NOPERM: the rest may quote the key.
            log.warning("limits_refused", error=reply.decode().partition(" ")[0])
        return [None] * len(usages)
