"""An irreplaceable object that is lost, as a record, and the annotation that allows new content. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from chatoperator.metadata import GROUP

if TYPE_CHECKING:
    from chatoperator.metadata import ObjectKey

NEW_CONTENT_ANNOTATION = f"{GROUP}/begin-anew"
"""On the ChatCluster: uids, separated by commas, of lost objects that may be made again with new content. An empty
database is begun only so. A uid is lost once, so that a value that was forgotten there allows nothing later."""

Subject = Literal["volume", "key", "authority", "credentials", "repository", "passphrase"]


@dataclass(frozen=True)
class Loss:
    """An object that held what cannot be made twice, and is gone, or empty, or being deleted.

    Attributes:
        subject: What it held.
        kind: Of the object.
        name: Of the object.
        uid: That it had.
        leaving: It is still there, but is being deleted.
        volume: The PersistentVolume of a claim that is still there; None otherwise.
    """

    subject: Subject
    kind: str
    name: str
    uid: str
    leaving: bool = False
    volume: str | None = None

    @property
    def key(self) -> ObjectKey:
        """(kind, name)."""
        return self.kind, self.name
