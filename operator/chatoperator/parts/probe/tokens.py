"""The tokens of the probe's two accounts: in a Secret, and as the hashes that the database gets. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.kube.objects import secret_text
from chatoperator.metadata import metadata, probe_secret_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed

TOKENS_KEY = "tokens"
"""Key of the Secret, and name of the mounted file: two tokens, one a line."""

_TOKENS = re.compile(r"([A-Za-z0-9_-]{32,})\n([A-Za-z0-9_-]{32,})\n?")


@dataclass(frozen=True)
class ProbeTokens:
    """Tokens, and whether the API server has them.

    Attributes:
        tokens: Of the first and the second account.
        stored: The Secret has them. Only then the database gets their hashes: others would be made if the Secret could
            not be written.
    """

    tokens: tuple[str, str]
    stored: bool

    def __repr__(self) -> str:
        """Show nothing: secrets never reach logs."""
        return "ProbeTokens(...)"

    @property
    def hashes(self) -> tuple[str, ...] | None:
        """SHA-256 in hex; None until they are stored. Of 256 random bits a hash reveals nothing."""
        return tuple(hashlib.sha256(token.encode()).hexdigest() for token in self.tokens) if self.stored else None


def probe_tokens(cluster: ChatCluster, observed: Observed, new_secret: Callable[[], str]) -> ProbeTokens | None:
    """The tokens that the Secret has, or new ones where it is missing or has none; None where there is no probe.

    Args:
        cluster: The parsed spec.
        observed: Its children, as the API server itself has confirmed.
        new_secret: Makes a token.
    """
    if not cluster.monitoring.probe.enabled:
        return None
    held = _TOKENS.fullmatch(secret_text(observed.child("Secret", probe_secret_name(cluster.name)), TOKENS_KEY) or "")
    if held is not None:
        return ProbeTokens((held[1], held[2]), stored=True)
    return ProbeTokens((new_secret(), new_secret()), stored=False)


def secret(cluster: ChatCluster, made: ProbeTokens) -> Manifest:
    """The Secret that the probe's pod mounts. Deleting it makes new tokens, which replace the old ones everywhere."""
    content = "".join(f"{token}\n" for token in made.tokens)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(cluster, probe_secret_name(cluster.name), "probe"),
        "type": "Opaque",
        "data": {TOKENS_KEY: base64.b64encode(content.encode()).decode()},
    }
