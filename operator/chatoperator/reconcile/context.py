"""What the steps of a reconcile work with, the same for all ChatClusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from chatoperator.kube.cache import Cache
    from chatoperator.kube.client import Kube
    from chatoperator.probes.prober import Prober
    from chatoperator.settings import Settings


@dataclass(frozen=True)
class Context:
    """The surroundings of all reconciles.

    Attributes:
        kube: The API server.
        cache: What lists and watches have delivered; gets the answers of the API server.
        prober: Probes the running parts.
        settings: The operator's settings.
        monotonic: Seconds that never go back, for intervals.
        now: The time with its zone, to compare with that of certificates, deletions and status.
    """

    kube: Kube
    cache: Cache
    prober: Prober
    settings: Settings
    monotonic: Callable[[], float]
    now: Callable[[], dt.datetime]
