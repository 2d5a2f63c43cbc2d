"""Orders a device's rows: each once, ascending in its chat, without gaps; no I/O."""

from collections.abc import Iterable, Iterator, Mapping

from chatcluster_client.model import Item


class RowOrder:
    """The position up to which each chat was delivered, and the rows that arrived early.

    Attributes:
        have: By chat, the seq up to which everything was handed on.
    """

    def __init__(self, have: Mapping[int, int] | None = None) -> None:
        self.have: dict[int, int] = dict(have or {})
        self._held: dict[int, dict[int, Item]] = {}

    def take(self, item: Item) -> list[Item]:
        """Return the rows that can be delivered now: none for a row seen before, or for one behind a gap."""
        if item.seq <= self.have.get(item.chat_id, 0):
            return []
        self._held.setdefault(item.chat_id, {})[item.seq] = item
        return list(self._release(item.chat_id))

    def is_waiting(self, chat_id: int) -> bool:
        """Return whether rows of the chat wait for missing earlier ones."""
        return chat_id in self._held

    def fill(self, chat_id: int, rows: Iterable[Item]) -> list[Item]:
        """Take rows that the server listed in order: between them there is nothing that this user may see."""
        released: list[Item] = []
        for item in rows:
            if item.seq > self.have.get(chat_id, 0):
                self.have[chat_id] = item.seq
                released.append(item)
        return [*released, *self._release(chat_id)]

    def newest_held(self, chat_id: int) -> int:
        """Return the highest seq that waits behind a gap; 0 if none does."""
        return max(self._held.get(chat_id, {}), default=0)

    def skip_hole(self, chat_id: int, up_to_seq: int) -> list[Item]:
        """Deliver the held rows up to a seq, although earlier ones are missing and cannot be fetched."""
        held = self._held.get(chat_id, {})
        return self.fill(chat_id, [held[seq] for seq in sorted(held) if seq <= up_to_seq])

    def _release(self, chat_id: int) -> Iterator[Item]:
        held = self._held.get(chat_id, {})
        while (following := held.pop(self.have.get(chat_id, 0) + 1, None)) is not None:
            self.have[chat_id] = following.seq
            yield following
        left = {seq: item for seq, item in held.items() if seq > self.have.get(chat_id, 0)}
        if left:
            self._held[chat_id] = left
        else:
            self._held.pop(chat_id, None)
