"""What the operator remembers of one ChatCluster between reconciles. All of it can be lost at any time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatoperator.metrics.chats import ChatSeries
from chatoperator.reconcile.digests import Rendering
from chatoperator.reconcile.rivals import Standing
from chatoperator.reporting.events import Allowance

if TYPE_CHECKING:
    import datetime as dt

    from chatoperator.autoscaling.autoscaler import Decision, Memory
    from chatoperator.desired import Desired
    from chatoperator.kube.contest import Contest
    from chatoperator.observed import Reading
    from chatoperator.parts.database.trouble import ClaimRefusal
    from chatoperator.parts.losses import HeldContent
    from chatoperator.probes.prober import Target
    from chatoperator.reconcile.drains import Drain


@dataclass(frozen=True, slots=True)
class Applied:
    """One object as it was last applied.

    Attributes:
        digest: Of the manifest.
        resource_version: Of the API server's answer, or a later one with the same content.
        content: Hash of the fields of that answer which the manifest sets.
        at: Seconds of a monotonic clock.
    """

    digest: str
    resource_version: str
    content: str
    at: float


@dataclass(frozen=True)
class Removal:
    """Servers that were marked for removal.

    Attributes:
        before: Names of all servers that were there.
        chosen: Names of those with the fewest connections.
    """

    before: frozenset[str]
    chosen: frozenset[str]


@dataclass
class State:
    """The memory of one ChatCluster.

    Attributes:
        applied: By (kind, name).
        rendering: The desired objects of the last reconcile; None before the first.
        conflicts: Reconciles in a row in which the API server answered that an object had changed meanwhile.
        memory: The autoscaler's; None before its first tick and in modes External and Disabled.
        decision: The autoscaler's last; None likewise.
        ticked_at: When the servers were last read because it was time, in seconds of a monotonic clock.
        ticked_generation: The spec's generation when they were last read.
        targets: Service and proxies that the last reconcile probed.
        ready: Status of the condition Ready in the last reconcile; None before that.
        certificate_expires: When the certificate expires; None where the operator renews it, or it is not known.
        unaccepted: Clients of users reject the certificate that is served, however well the chat answers.
        own_since: Since when HAProxy is to serve the operator's own certificate, in seconds of a monotonic clock;
            None where it is not.
        removal: The servers that were marked last, until as many have gone.
        events: How many more Events may be created.
        readings: Of the chatservers by pod name; None for one that gave none.
        claim_refusal: Why the API server refused another size or class of the volume; None where it did not.
        contests: Objects that others change, by (kind, name).
        overruled: Fields that the API server stored differently from what was applied, by (kind, name).
        standing: What is known of other operators.
        rival: Another operator that serves the same ChatCluster; None where there is none.
        unreadable_until: Until when it is not reported again to be too large to be read, in seconds of that clock.
        waiting: Something is in progress that no event reports, so that the next pulse has to look.
        series: What Prometheus gets.
        drains: Servers that drain, by pod name; None before the first look.
        rotation_began: When the rotation of passwords in progress began, in Unix seconds; None where that is not known.
    """

    applied: dict[tuple[str, str], Applied] = field(default_factory=dict)
    rendering: Rendering | None = None
    conflicts: int = 0
    memory: Memory | None = None
    decision: Decision | None = None
    ticked_at: float | None = None
    ticked_generation: int | None = None
    targets: tuple[Target, ...] = ()
    ready: bool | None = None
    certificate_expires: dt.datetime | None = None
    unaccepted: bool = False
    own_since: float | None = -math.inf
    removal: Removal | None = None
    events: Allowance = field(default_factory=Allowance)
    readings: dict[str, Reading | None] = field(default_factory=dict)
    claim_refusal: ClaimRefusal | None = None
    contests: dict[tuple[str, str], Contest] = field(default_factory=dict)
    overruled: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    rival: str | None = None
    unreadable_until: float = -math.inf
    waiting: bool = False
    series: ChatSeries = field(default_factory=ChatSeries)
    drains: dict[str, Drain] | None = None
    rotation_began: int | None = None

    def rendered(self, desired: Desired) -> Rendering:
        """The desired objects; those of the last time where nothing has changed."""
        if self.rendering is None or self.rendering.desired != desired:
            self.rendering = Rendering(desired)
        return self.rendering

    def free(self, *, everything: bool) -> None:
        """Free memory at the end of a reconcile.

        Args:
            everything: Also the parsed spec and the digests, which the next reconcile makes again.
        """
        if everything:
            self.rendering = None
        elif self.rendering is not None:
            self.rendering.drop_manifests()

    def held(self, uid: str) -> HeldContent | None:
        """Irreplaceable content that the last reconcile of this very ChatCluster had; None after a start."""
        last = self.rendering.desired if self.rendering is not None else None
        return last.held if last is not None and last.cluster.uid == uid else None
