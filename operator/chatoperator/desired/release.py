"""Which release of the chat runs, and its images. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.errors import SpecError
from chatoperator.settings import Images

if TYPE_CHECKING:
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.settings import Settings


@dataclass(frozen=True)
class Release:
    """A release and its images, with those that the spec replaces.

    Attributes:
        version: The release.
        images: To run.
        available: The release of the operator, if it is another one; None otherwise.
    """

    version: str
    images: Images
    available: str | None = None


def decide(cluster: ChatCluster, body: Manifest, settings: Settings) -> Release:
    """The release that the spec names, or else the one that runs, or else the operator's own.

    An upgrade of the operator restarts nothing: `status` pins the release and its images until the spec names another.

    Args:
        cluster: The parsed spec.
        body: The ChatCluster; its status pins what runs.
        settings: The operator's own.

    Raises:
        SpecError: The spec names a release that is neither the operator's nor the one that runs.
    """
    pinned = body.get("status") or {}
    version = cluster.version or pinned.get("version") or settings.version
    if version == settings.version:
        images = settings.images
    elif version == pinned.get("version"):
        images = Images(**pinned["images"])
    else:
        raise SpecError(
            "version",
            f"this operator can install only release {settings.version}; set that release, or remove the field",
        )
    source = cluster.images
    return Release(
        version=version,
        images=Images(
            chatserver=cluster.chatserver.image or source.of(images.chatserver),
            postgres=cluster.database.image or source.of(images.postgres),
            haproxy=cluster.ingress.image or source.of(images.haproxy),
        ),
        available=settings.version if version != settings.version else None,
    )
