"""What the API server refused, for an admin: the object, its own words, the field of the spec, what to do. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chatoperator.kube.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatoperator.errors import KubeError

FORBIDDEN, CONFLICT = 403, 409

WORDS_LENGTH_MAX = 900
"""Characters of all refusals together: what status holds, less what is said beside them."""

SHORTEST = 160
"""Characters that one refusal is cut to at most, however many there are; those beyond are counted."""

KIND_OF = {where.plural: kind for kind, where in KINDS.items()}

PART = re.compile(r"-(postgres|chatserver|ingress|migrate|probe|bus|backup)(-|$)")

SECTIONS = {
    "postgres": "database",
    "chatserver": "chatserver",
    "migrate": "chatserver",
    "ingress": "ingress",
    # It runs where chatservers may.
    "probe": "chatserver",
    "bus": "bus.valkey",
    "backup": "database.backup",
}

ANY = frozenset(SECTIONS)

KEPT = frozenset({"Secret", "PersistentVolumeClaim"})
"""Kinds of which some hold irreplaceable data: no remedy is to delete one."""

WORKLOADS = frozenset({"Deployment", "StatefulSet", "Job"})
"""Kinds with pods whose fields come from the spec, so that a policy may reject them."""

POD_FIELDS = "template|nodeSelector|tolerations|affinity"

FIELDS: tuple[tuple[str, frozenset[str], str], ...] = (
    (r"\bresources\b|requests|limits", ANY, "{section}.resources"),
    (r"\bimage\b", ANY, "{section}.image"),
    (r"\benv\b", frozenset({"chatserver"}), "chatserver.env"),
    # What the Job's own template leaves out it has from the chatservers'.
    (POD_FIELDS, frozenset({"migrate"}), "chatserver.migration.podTemplate or chatserver.podTemplate"),
    (POD_FIELDS, ANY, "{section}.podTemplate"),
    ("nodePort|provided port", frozenset({"ingress"}), "ingress.service.nodePort"),
    ("annotations", frozenset({"ingress"}), "ingress.service.annotations"),
)
"""A pattern in the API server's words, the parts that it speaks of there, and the field of the spec behind it."""

IMMUTABLE = re.compile(r"immutable|updates to statefulset spec|may not change once set|can ?not be (changed|unset)")
"""What the API server says of a field that keeps the value that an object was created with."""

OWN_POLICY = re.compile(
    r"ValidatingAdmissionPolicy '([^']+)' with binding '\1' denied request: (?=.*\b(of a chat|the operator)\b)"
)
"""The chart's own policies. An apply keeps what others have set in an object beside the operator's fields."""

QUOTED = re.compile(r'^\S+ "[^"]*" is (invalid|forbidden): ')
"""What the API server says before its reason: kind and name once more."""


def words(refusals: Sequence[KubeError]) -> str:
    """All refusals, each once, in an order that does not change from try to try.

    >>> words([])
    ''
    """
    texts = list(dict.fromkeys(_one(refusal) for refusal in refusals))
    room = max(SHORTEST, WORDS_LENGTH_MAX // max(1, len(texts)))
    shown = [_cut(text, room) for text in texts[: WORDS_LENGTH_MAX // SHORTEST]]
    more = len(texts) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more else [])])


def _one(refusal: KubeError) -> str:
    kind, name = _object(refusal.path)
    if kind is None:
        return str(refusal)
    field = _field(kind, name, refusal.reason)
    about = f" (spec.{field})" if field else ""
    remedy = _remedy(refusal, kind, name, f"correct spec.{field}" if field else "correct the spec")
    said = OWN_POLICY.sub("", QUOTED.sub("", refusal.reason)).rstrip(".")
    return f"{kind} {name}{about}: {said}. {remedy}"


def _object(path: str) -> tuple[str | None, str]:
    """Kind and name from the path of a request; None for the kind where it is about no single object."""
    *_, plural, name = ["", "", *path.rstrip("/").split("/")]
    return KIND_OF.get(plural), name


def _namespace(path: str) -> str:
    """The namespace in the path of a request; empty for an object of the whole cluster."""
    return path.partition("/namespaces/")[2].partition("/")[0]


def _field(kind: str, name: str, reason: str) -> str | None:
    """The field of the spec behind a refusal; None where none is known to be."""
    by_kind = {
        "PersistentVolumeClaim": _storage(name),
        "Ingress": "ingress.front",
        "HTTPRoute": "ingress.front",
        "Certificate": "ingress.tls.issuerRef",
    }
    part = PART.search(name)
    if kind in by_kind or part is None:
        return by_kind.get(kind)
    for pattern, parts, field in FIELDS:
        if part[1] in parts and re.search(pattern, reason):
            return field.format(section=SECTIONS[part[1]])
    return None


def _storage(name: str) -> str:
    """The field behind a claim, by its name."""
    return "database.backup.repository.volume" if name.endswith("-backup-data") else "database.storage"


def _remedy(refusal: KubeError, kind: str, name: str, correct: str) -> str:
    """What to do.

    Args:
        refusal: By the API server.
        kind: Of the object.
        name: Of the object.
        correct: A phrase that names the field to correct.
    """
    reason = refusal.reason
    if refusal.status == 0:
        made = "The API server did not answer; the operator retries"
    elif " cannot " in reason and reason.partition(" is forbidden: ")[2].startswith("User "):
        made = "The operator lacks this permission: upgrade its Helm chart to the release of the operator"
    elif OWN_POLICY.search(reason):
        made = _undo(kind, name, correct)
    elif refusal.status == FORBIDDEN or "admission webhook" in reason:
        made = f"Change the quota, policy or webhook that rejects it, or {correct}"
    elif IMMUTABLE.search(reason):
        made = _recreate(kind, name, _namespace(refusal.path))
    elif refusal.status == CONFLICT:
        made = f"Another program keeps changing {kind} {name}; metadata.managedFields names it. Stop that program"
    else:
        made = f"{correct[0].upper()}{correct[1:]}; all other objects are applied"
    return made


def _undo(kind: str, name: str, correct: str) -> str:
    """What to do where the object, as it would be with the operator's fields, is what the chart's policies forbid."""
    if kind in KEPT:
        return f"Remove what another user or program has set in {kind} {name}"
    if kind in WORKLOADS:
        return f"Remove what another user or program has set in {kind} {name}, or {correct}"
    return f"Another user or program has set that in {kind} {name}: delete it, and the operator recreates it"


def _recreate(kind: str, name: str, namespace: str) -> str:
    """What to do about a field that never changes, so that nothing is lost by it."""
    if kind == "PersistentVolumeClaim":
        return f"Restore the old value of spec.{_storage(name)}; Kubernetes cannot change it on an existing volume"
    if kind == "Secret":
        return (
            "The Secret has immutable: true, which cannot be undone. Recreate it with the same content: "
            f"kubectl get secret {name} -n {namespace} -o yaml | sed '/^immutable:/d' | kubectl replace --force -f -"
        )
    if kind == "StatefulSet" and name.endswith("-postgres"):
        return (
            f"Delete {kind} {name}: the operator recreates it on the same volume; the database is unavailable meanwhile"
        )
    return f"Restore the old value in the spec, or delete {kind} {name}: the operator recreates it"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
