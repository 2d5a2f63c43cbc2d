"""Whether what cannot be made twice is there: the database's volume, the servers' key, the certificate authority."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.inputs import Condition
from chatoperator.parts.irreplaceable import BEGIN_ANEW_ANNOTATION

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts
    from chatoperator.parts.irreplaceable import Loss

REASONS = {"volume": "VolumeLost", "key": "KeyLost", "authority": "AuthorityLost"}

MEANS = {
    "volume": "The database is gone with it, and no empty one is begun. Make a claim of that name from a snapshot, or "
    "on the old PersistentVolume (docs/operations/database.md#a-lost-volume)",
    "key": "It protects sign-in codes. Chatservers that run go on, new ones cannot start. Restore the Secret",
    "authority": "Clients trust it. The certificate that it issued last is served until it ends, and is not renewed. "
    "Restore the Secret",
}


def condition(facts: Facts) -> Condition:
    """DataSafe."""
    kind = "DataSafe"
    return trouble(facts, kind) or Condition(kind, "True", "Kept", "What cannot be made twice is there")


def trouble(facts: Facts, kind: str) -> Condition | None:
    """What is lost, or about to be, as a condition of this type; None where nothing is."""
    if not facts.losses:
        return None
    first = facts.losses[0]
    reason = "VolumeLeaving" if first.leaving else REASONS[first.subject]
    words = "; ".join(_words(facts, loss) for loss in facts.losses)
    return Condition(kind, "False", reason, words)


def _words(facts: Facts, loss: Loss) -> str:
    if loss.leaving:
        return _leaving_words(facts, loss)
    return (
        f"{loss.kind} {loss.name} is gone or empty. {MEANS[loss.subject]}; or begin anew with "
        f"kubectl annotate chatcluster {facts.name} --overwrite {BEGIN_ANEW_ANNOTATION}={loss.uid}"
    )


def _leaving_words(facts: Facts, loss: Loss) -> str:
    pods = [pod.name for pod in facts.observed.component("postgres")]
    until = f"it stays only as long as pod {pods[0]} does: do not delete that pod. " if pods else ""
    keep = ""
    if loss.volume is not None:
        patch = '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'
        keep = f"kubectl patch pv {loss.volume} -p '{patch}' keeps the data. "
    return (
        f"{loss.kind} {loss.name}, which holds the database, is being deleted; {until}{keep}Dump the database, or "
        "bring the volume back under a new claim (docs/operations/database.md#a-lost-volume)"
    )
