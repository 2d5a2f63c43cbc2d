"""Whether clients get in: the load balancer, its certificate, and what stands in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions.workloads import part_condition
from chatoperator.facts import Condition
from chatoperator.manifests.metadata import tls_secret_name

if TYPE_CHECKING:
    from chatoperator.facts import Facts


def condition(facts: Facts) -> Condition:
    """IngressReady."""
    made, trouble = _proxies(facts), facts.route_trouble
    if made.status == "True" and trouble is not None:
        return Condition("IngressReady", "False", trouble.reason, trouble.message)
    return made


def _proxies(facts: Facts) -> Condition:
    if facts.cluster is not None and facts.cluster.ingress.issuer is not None:
        return _by_cert_manager(facts)
    if not facts.tls_present:
        name = facts.cluster.ingress.tls_secret_name if facts.cluster is not None else tls_secret_name(facts.name)
        message = f"Secret {name} is missing or has no tls.crt and tls.key; create it"
        return Condition("IngressReady", "False", "CertificateMissing", message)
    made, ends = part_condition(facts, "ingress", "IngressReady"), facts.certificate_ends
    if ends is None or facts.cluster is None or not (ends.over or ends.soon):
        return made
    secret = f"the certificate in Secret {facts.cluster.ingress.tls_secret_name}"
    if ends.over:
        message = f"Clients refuse {secret}: it ended at {ends.at}; put a new one there"
        return Condition("IngressReady", "False", "CertificateExpired", message)
    if made.status == "True":
        message = f"{made.message}; {secret} ends at {ends.at}; put a new one there"
        return Condition("IngressReady", "True", "CertificateExpiring", message)
    return made


def _by_cert_manager(facts: Facts) -> Condition:
    """What cert-manager does not do is bad only where clients notice."""
    made, issuance, ends = part_condition(facts, "ingress", "IngressReady"), facts.issuance, facts.certificate_ends
    if issuance is not None and not issuance.accepted:
        return Condition("IngressReady", "False", issuance.reason, issuance.message)
    if made.status != "True":
        return made
    if issuance is not None:
        return Condition("IngressReady", "True", issuance.reason, f"{made.message}; {issuance.message}")
    if ends is not None and ends.soon:
        # It may have stopped before it could say what is wrong.
        words = f"cert-manager has not renewed the certificate, which ends at {ends.at}: see its logs"
        return Condition("IngressReady", "True", "CertificateExpiring", f"{made.message}; {words}")
    return made
