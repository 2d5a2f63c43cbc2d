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
        message: For people, with what to do. It shows nothing of the URL.
    """

    reason: DatabaseReason
    message: str
