"""What keeps chatservers from using a database that the user runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DatabaseReason = Literal["SecretMissing", "InvalidDsn", "CertificateInvalid"]


@dataclass(frozen=True)
class DatabaseTrouble:
    """What keeps chatservers from using a database that the user runs.

    Attributes:
        reason: One word for programs.
        message: What is wrong and what to do. It shows nothing of the URL.
    """

    reason: DatabaseReason
    message: str


@dataclass(frozen=True)
class ClaimRefusal:
    """A change of the volume's claim that the API server refused.

    Attributes:
        digest: Of the claim's manifest.
        message: The API server's reason.
        at: Seconds of a monotonic clock.
        storage_class: That the claim has and keeps, where the spec requires another one; None where it does not.
    """

    digest: str
    message: str
    at: float
    storage_class: str | None = None
