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
        _check_bus(cluster, version, images)
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
            valkey=cluster.bus.valkey.image or (source.of(images.valkey) if images.valkey else ""),
        ),
        available=settings.version if version != settings.version else None,
    )


def _check_bus(cluster: ChatCluster, version: str, images: Images) -> None:
    """Check that the chatservers of a pinned release know the bus of the spec.

    Raises:
        SpecError: They would use PostgreSQL without an error.
    """
    if cluster.bus.type != "PostgreSQL" and not images.valkey:
        raise SpecError(
            "bus.type",
            f"release {version}, which runs, has no other bus than PostgreSQL; set version to the release of the "
            "operator first, and change the bus when all chatservers run it",
        )
