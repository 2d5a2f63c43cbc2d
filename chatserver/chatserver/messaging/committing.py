"""What follows the writer's batches: the delivery of their rows on this server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.storage.messages import AppendResult, NewMessage


class CommitListener(Protocol):
    """Follows each batch of this server: ``begin``, then either ``committed`` or ``failed``.

    No two batches under way have a chat in common.
    """

    def begin(self, messages: Sequence[NewMessage]) -> None:
        """The batch is about to be stored."""

    def committed(self, messages: Sequence[NewMessage], results: Sequence[AppendResult]) -> None:
        """The batch is durable; one result a message, in the same order. Raises nothing."""

    def failed(self, messages: Sequence[NewMessage]) -> None:
        """The batch was rolled back, or its commit is uncertain."""
