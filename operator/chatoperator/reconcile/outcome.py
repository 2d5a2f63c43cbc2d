"""What came of one reconcile's writing: refusals, of which none hides another, and what deserves an Event."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatoperator.errors import KubeError
from chatoperator.reporting.events import EventContent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from chatoperator.metadata import ObjectKey
    from chatoperator.parts.irreplaceable import Loss


@dataclass
class Outcome:
    """Collected while a reconcile writes.

    Attributes:
        failures: All refusals, in their order.
        refused: Digests of the manifests that were refused, by (kind, name): they are not sent twice in one reconcile.
        events: To create.
    """

    failures: list[KubeError] = field(default_factory=list)
    refused: dict[ObjectKey, str] = field(default_factory=dict)
    events: list[EventContent] = field(default_factory=list)

    def refuse(self, key: ObjectKey, digest: str, error: KubeError) -> None:
        """Note that the API server refused an object."""
        self.refused[key] = digest
        self.failures.append(error)

    def has_refused(self, kinds: Collection[str]) -> bool:
        """Whether an object of one of these kinds was refused."""
        return any(kind in kinds for kind, _ in self.refused)

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Note what the API server refuses inside, and continue after it."""
        try:
            yield
        except KubeError as error:
            self.failures.append(error)

    def restored(self, losses: Sequence[Loss]) -> None:
        """Note what is restored, once."""
        for loss in losses:
            if loss.key in self.refused:
                continue
            message = f"{loss.kind} {loss.name} was deleted or emptied; the operator restored its content"
            event = EventContent(warning=True, reason="SecretRestored", message=message)
            self.events += [] if event in self.events else [event]

    def copied(self, losses: Sequence[Loss]) -> None:
        """Note which volumes are recreated, once."""
        for loss in losses:
            message = f"{loss.kind} {loss.name} was deleted; the database is copied to a new one from another instance"
            event = EventContent(warning=True, reason="VolumeReplaced", message=message)
            self.events += [] if event in self.events else [event]

    def raise_first(self) -> None:
        """Have the reconcile tried again, where anything was refused.

        Raises:
            KubeError: The first refusal.
        """
        if self.failures:
            raise self.failures[0]
