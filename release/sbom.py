"""Bills of materials in CycloneDX: of an image, from what its own package databases list; of the chart, its images."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot5
from packageurl import PackageURL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LIST_PACKAGES = (
    "dpkg-query --show --showformat='deb ${Package} ${Version} ${Architecture}\\n'; "
    "find / -xdev -path '*.dist-info/METADATA' -exec sed -n '/^$/q; s/^Name: /pypi /p; s/^Version: /= /p' {} ';'"
)
"""For `sh -c` in an image: prints `deb NAME VERSION ARCHITECTURE`, and `pypi NAME` and `= VERSION` on two lines."""


@dataclass(frozen=True, order=True)
class Package:
    """A package in an image.

    Attributes:
        kind: `deb` or `pypi`.
        name: as its database has it.
        version: likewise.
        architecture: of a Debian package, for instance `amd64`; empty for a Python one.
    """

    kind: str
    name: str
    version: str
    architecture: str = ""

    @property
    def url(self) -> PackageURL:
        """Its package URL, for instance `pkg:deb/debian/haproxy@3.0.11-1?arch=amd64`."""
        if self.kind == "deb":
            return PackageURL("deb", "debian", self.name, self.version, {"arch": self.architecture})
        return PackageURL("pypi", None, re.sub(r"[-_.]+", "-", self.name).lower(), self.version)


def parse(listing: str) -> list[Package]:
    """The packages in what `LIST_PACKAGES` prints, in order of their names.

    Example:
        `deb zlib1g 1:1.3 amd64`, `pypi Sanic`, `= 25.12.1` -> zlib1g and Sanic.

    Raises:
        ValueError: a line is none of these.
    """
    found: set[Package] = set()
    name = ""
    for line in listing.splitlines():
        match line.split():
            case ["deb", package, version, architecture]:
                found.add(Package("deb", package, version, architecture))
            case ["pypi", name]:
                pass
            case ["=", version] if name:
                found.add(Package("pypi", name, version))
                name = ""
            case []:
                pass
            case _:
                raise ValueError(f"no package: {line!r}")
    return sorted(found)


def of_image(name: str, version: str, packages: Sequence[Package], at: datetime) -> str:
    """The bill of an image, as JSON.

    Args:
        name: for instance `chatcluster-haproxy`.
        version: the release.
        packages: what is in it.
        at: the commit's time, so that a release can be made again byte for byte.
    """
    parts = (
        Component(name=package.name, version=package.version, purl=package.url, bom_ref=str(package.url))
        for package in packages
    )
    return _document(name, version, ComponentType.CONTAINER, parts, at)


def of_chart(name: str, version: str, images: Iterable[str], at: datetime) -> str:
    """The bill of the chart, as JSON: the images of its release, by their names."""
    parts = (
        Component(name=image, version=version, type=ComponentType.CONTAINER, bom_ref=f"{image}:{version}")
        for image in images
    )
    return _document(name, version, ComponentType.APPLICATION, parts, at)


def rooted_at(bill: str, name: str) -> str:
    """The part of a bill that is about one of its components: this one as the root, and what it depends on.

    Args:
        bill: CycloneDX in JSON, as `uv export` writes it for a whole project.
        name: the component.

    Raises:
        ValueError: the bill has no component of this name.
    """
    document = json.loads(bill)
    root = next((part for part in document["components"] if part["name"] == name), None)
    if root is None:
        raise ValueError(f"no component {name!r} in the bill of {document['metadata']['component']['name']}")
    depends_on = {entry["ref"]: entry.get("dependsOn", []) for entry in document["dependencies"]}
    reached: set[str] = set()
    pending = [root["bom-ref"]]
    while pending:
        reference = pending.pop()
        if reference not in reached:
            reached.add(reference)
            pending += depends_on.get(reference, [])
    parts = [part for part in document["components"] if part["bom-ref"] in reached and part is not root]
    return json.dumps(
        {
            **document,
            "metadata": {**document["metadata"], "component": root},
            "components": parts,
            "dependencies": [entry for entry in document["dependencies"] if entry["ref"] in reached],
        },
        indent=2,
    )


def _document(name: str, version: str, kind: ComponentType, parts: Iterable[Component], at: datetime) -> str:
    whole = Component(name=name, version=version, type=kind, bom_ref=name)
    bom = Bom(components=parts, version=1)
    bom.metadata.component = whole
    bom.register_dependency(whole, bom.components)
    bom.metadata.timestamp = at.astimezone(UTC)
    return JsonV1Dot5(bom).output_as_string(indent=1)
