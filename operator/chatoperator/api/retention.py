"""spec.retention: how long messages are kept."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from chatoperator.api.fields import Fields


class MessageRetention(Fields, frozen=True):
    """Days after which the messages of all chats are deleted; None: they stay."""

    days: Annotated[int, Meta(ge=1, le=3650)] | None = None
