"""spec.monitoring: the probe, which sends messages through the chat and measures what becomes of them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from chatoperator.api.fields import Fields


class Probe(Fields, frozen=True):
    """Whether it runs, and the seconds between two of its messages."""

    enabled: bool = False
    interval_seconds: Annotated[int, Meta(ge=1, le=3600)] = 10


class Monitoring(Fields, frozen=True):
    """What observes the chat from inside the cluster."""

    probe: Probe = Probe()
