"""Whether clients get in: the load balancer, its certificate, and what stands in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import address
from chatoperator.conditions.inputs import Condition
from chatoperator.conditions.workloads import part_condition

if TYPE_CHECKING:
    from chatoperator.conditions.inputs import Facts


KIND = "IngressReady"


def condition(facts: Facts) -> Condition:
    """IngressReady."""
    made, trouble = _proxies(facts), facts.route_trouble
    if made.status == "True" and trouble is not None:
        return Condition(KIND, "False", trouble.reason, trouble.message)
    without = address.missing(facts)
    if made.status == "True" and without is not None:
        return Condition(KIND, "False", "AddressMissing", without)
    return made


def _proxies(facts: Facts) -> Condition:
    if facts.cluster is not None and facts.cluster.ingress.issuer is not None:
        return _by_cert_manager(facts)
    made, ends, trouble = part_condition(facts, "ingress", KIND), facts.certificate_ends, facts.certificate_trouble
    if trouble is not None:
        # Even where clients notice nothing yet: it was asked for, and it is not served.
        return Condition(KIND, "False", trouble.reason, trouble.message)
    if ends is None or facts.cluster is None or not (ends.over or ends.soon):
        return made
    secret = f"the certificate in Secret {facts.cluster.ingress.tls_secret_name}, key tls.crt,"
    if ends.over:
        message = f"Clients reject {secret} which expired at {ends.at}; renew tls.crt and tls.key there"
        return Condition(KIND, "False", "CertificateExpired", message)
    if made.status == "True":
        message = f"{made.message}; {secret} expires at {ends.at}; renew tls.crt and tls.key there"
        return Condition(KIND, "True", "CertificateExpiring", message)
    return made


def _by_cert_manager(facts: Facts) -> Condition:
    """What cert-manager does not do is bad only where clients notice."""
    made, trouble, ends = part_condition(facts, "ingress", KIND), facts.certificate_trouble, facts.certificate_ends
    if trouble is not None and not trouble.accepted:
        return Condition(KIND, "False", trouble.reason, trouble.message)
    if made.status != "True":
        return made
    if trouble is not None:
        return Condition(KIND, "True", trouble.reason, f"{made.message}; {trouble.message}")
    if ends is not None and ends.soon:
        # It may have stopped before it could say what is wrong.
        words = f"cert-manager has not renewed the certificate, which ends at {ends.at}: see its logs"
        return Condition(KIND, "True", "CertificateExpiring", f"{made.message}; {words}")
    return made
