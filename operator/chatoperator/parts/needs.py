"""Which other objects a manifest relies on: it must not be made on somebody else's. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatoperator.metadata import (
    INSTANCE_LABEL,
    Manifest,
    ca_secret_name,
    chatserver_secret_name,
    database_secret_name,
    front_name,
    part_name,
    tls_secret_name,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from chatoperator.metadata import ObjectKey


def needs(manifest: Manifest) -> frozenset[ObjectKey]:
    """(kind, name) of what a manifest mounts, reads or sends its traffic to."""
    kind, metadata = manifest["kind"], manifest["metadata"]
    name = (metadata.get("labels") or {}).get(INSTANCE_LABEL, "")
    if kind == "Certificate":
        # cert-manager would write into a Secret of somebody else's.
        return frozenset({("Secret", manifest["spec"]["secretName"])})
    if kind in {"Ingress", "HTTPRoute"}:
        return frozenset({("Service", front_name(name))})
    if kind == "Secret" and metadata["name"] == database_secret_name(name):
        # Its revision is made with that key.
        return frozenset({("Secret", chatserver_secret_name(name))})
    if kind == "Secret" and metadata["name"] == tls_secret_name(name):
        # Its certificate is signed by that authority: without it, both would be recreated.
        return frozenset({("Secret", ca_secret_name(name))})
    template = (manifest.get("spec") or {}).get("template")
    return frozenset() if template is None else frozenset(_of_pod(template["spec"]))


def without(manifests: Iterable[Manifest], withheld: Collection[ObjectKey]) -> tuple[Manifest, ...]:
    """The manifests but for those withheld and what needs them, in their order."""
    gone, kept = set(withheld), list[Manifest]()
    for manifest in manifests:
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key in gone or needs(manifest) & gone:
            gone.add(key)
        else:
            kept.append(manifest)
    return tuple(kept)


def unbegun(name: str, taken: Collection[ObjectKey], there: Collection[ObjectKey]) -> frozenset[ObjectKey]:
    """Workloads that must not begin to send passwords or messages to a Service of somebody else's.

    Where what is behind that Service exists already, they have begun, and are kept in repair.

    Args:
        name: Of the ChatCluster.
        taken: (kind, name) of the others' objects.
        there: (kind, name) of the children.

    Returns:
        (kind, name); the Job's name is empty.
    """
    postgres, chatserver, ingress = (part_name(name, part) for part in ("postgres", "chatserver", "ingress"))
    made: set[ObjectKey] = set()
    if ("Service", postgres) in taken and ("StatefulSet", postgres) not in there:
        made |= {("StatefulSet", postgres), ("Job", ""), ("Deployment", chatserver)}
    if ("Service", chatserver) in taken and ("Deployment", chatserver) not in there:
        made |= {("Deployment", chatserver), ("Deployment", ingress)}
    return frozenset(made)


def _of_pod(spec: Mapping[str, Any]) -> Iterable[ObjectKey]:
    for volume in spec.get("volumes") or []:
        yield from _of_volume(volume)
        for source in (volume.get("projected") or {}).get("sources") or []:
            yield from _of_volume(source)
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        for variable in container.get("env") or []:
            source = variable.get("valueFrom") or {}
            if "secretKeyRef" in source:
                yield "Secret", source["secretKeyRef"]["name"]
            if "configMapKeyRef" in source:
                yield "ConfigMap", source["configMapKeyRef"]["name"]


def _of_volume(volume: Mapping[str, Any]) -> Iterable[ObjectKey]:
    if "secret" in volume:
        yield "Secret", volume["secret"].get("secretName") or volume["secret"]["name"]
    if "configMap" in volume:
        yield "ConfigMap", volume["configMap"]["name"]
    if "persistentVolumeClaim" in volume:
        yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
