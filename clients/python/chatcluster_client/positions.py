"""How far an application has handled its chats: what a program that restarts stores."""

from typing import Self

import msgspec

from chatcluster_client.model import Item


class Positions(msgspec.Struct):
    """Up to which row each chat was handled.

    Attributes:
        have: By chat, the seq up to which everything was handled. Another chat is brought from its beginning.
        epoch: Which history of the database the numbers belong to; the client fills it in.
    """

    have: dict[int, int] = {}
    epoch: str = ""

    def take(self, item: Item) -> None:
        """Count a row as handled."""
        self.have[item.chat_id] = max(item.seq, self.have.get(item.chat_id, 0))

    def to_json(self) -> bytes:
        """Return what `from_json` reads."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read stored positions.

        Raises:
            msgspec.ValidationError: They are none.
        """
        return msgspec.json.decode(data, type=cls)
