"""What the operator remembers of one ChatCluster between reconciles. All of it can be lost at any time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatoperator.reconcile.digests import wishes
from chatoperator.reconcile.rivals import Standing
from chatoperator.reporting.events import Allowance

if TYPE_CHECKING:
    import datetime as dt

    from chatoperator.api.spec import ChatCluster
    from chatoperator.autoscaling.autoscaler import Decision, Memory
    from chatoperator.kube.contest import Contest
    from chatoperator.observed import Reading
    from chatoperator.parts.manifests import Inputs
    from chatoperator.probes.prober import Target
    from chatoperator.reconcile.digests import Wish, Wishes


@dataclass(frozen=True, slots=True)
class Applied:
    """One object as it was last applied.

    Attributes:
        digest: Of the manifest.
        resource_version: What the API server answered, or a later one that said the same.
        content: Hash of what the answer said where the manifest says something.
        at: Seconds of a monotonic clock.
    """

    digest: str
    resource_version: str
    content: str
    at: float


@dataclass(frozen=True)
class Removal:
    """Servers that were marked to go.

    Attributes:
        before: Names of all servers that were there.
        chosen: Names of those with the fewest connections.
    """

    before: frozenset[str]
    chosen: frozenset[str]


@dataclass(frozen=True)
class Refusal:
    """An object that the API server refused.

    Attributes:
        digest: Of the manifest.
        message: Its words.
        at: Seconds of a monotonic clock.
        storage_class: That a claim has and keeps, where the spec asks for another; None where it does not.
    """

    digest: str
    message: str
    at: float
    storage_class: str | None = None


@dataclass
class State:
    """The memory of one ChatCluster.

    Attributes:
        applied: By (kind, name).
        wishes: Of the last reconcile.
        conflicts: Reconciles in a row that wrote on the ground of what had changed meanwhile.
        memory: The autoscaler's; None before its first tick and in modes External and Disabled.
        decision: The autoscaler's last; None likewise.
        ticked_at: When the servers were last read because it was time, in seconds of a monotonic clock.
        ticked_generation: The spec's generation when they were last read.
        targets: Whom the last reconcile asked through the ingress.
        ready: What the condition Ready said last; None before that.
        certificate_ends: When the certificate ends; None where the operator makes it or it cannot be told.
        unaccepted: People's clients cannot accept what is served, however well it answers.
        own_since: Since when HAProxy is to serve the operator's own certificate, in seconds of a monotonic clock;
            None where it is not.
        removal: The servers that were marked last, until as many have gone.
        events: How many more Events there may be.
        readings: What they answered, by pod name; None where one gave no reading.
        claim_refusal: What the API server said against another size or class of the volume; None where it took it.
        contests: Objects that others change, by (kind, name).
        overruled: Fields that the API server stored otherwise than they were applied, by (kind, name).
        standing: What is known of other operators.
        rival: Another operator that serves the same ChatCluster; None where there is none.
        unreadable_until: Until when it is not reported again to be too large to be read, in seconds of that clock.
        waiting: Something is under way that no event tells of, so that the next pulse has to look.
    """

    applied: dict[tuple[str, str], Applied] = field(default_factory=dict)
    wishes: Wishes | None = None
    conflicts: int = 0
    memory: Memory | None = None
    decision: Decision | None = None
    ticked_at: float | None = None
    ticked_generation: int | None = None
    targets: tuple[Target, ...] = ()
    ready: bool | None = None
    certificate_ends: dt.datetime | None = None
    unaccepted: bool = False
    own_since: float | None = -math.inf
    removal: Removal | None = None
    events: Allowance = field(default_factory=Allowance)
    readings: dict[str, Reading | None] = field(default_factory=dict)
    claim_refusal: Refusal | None = None
    contests: dict[tuple[str, str], Contest] = field(default_factory=dict)
    overruled: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    rival: str | None = None
    unreadable_until: float = -math.inf
    waiting: bool = False

    def wished(self, cluster: ChatCluster, inputs: Inputs) -> tuple[Wish, ...]:
        """One wish for each object, in the order of their making, and remember them."""
        self.wishes = wishes(cluster, inputs, self.wishes)
        return self.wishes.all

    def held(self, cluster: ChatCluster) -> Inputs | None:
        """What the last reconcile of this very ChatCluster wished for; None after a start of the operator."""
        same = self.wishes is not None and self.wishes.cluster.uid == cluster.uid
        return self.wishes.inputs if self.wishes is not None and same else None
