"""The certificate that the Ingress in front serves: the operator reads it only to say what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.kube.objects import secret_text
from chatoperator.parts.credentials import Certificate
from chatoperator.parts.ingress.routing import RouteTrouble
from chatoperator.parts.ingress.tls.faults import Grade, certificate_faults
from chatoperator.parts.ingress.tls.supplied import KEYS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest


def front_certificate_trouble(
    cluster: ChatCluster, named: Mapping[str, Manifest | None], now: dt.datetime
) -> RouteTrouble | None:
    """Why clients reject what the Ingress serves; None where they take it, and where the spec names no Secret.

    What only some of them reject is left to the controller, which may serve other certificates beside it.

    Args:
        cluster: The ChatCluster.
        named: The user's Secrets by name; None for one that does not exist.
        now: The time with its zone.
    """
    front = cluster.ingress.front
    if front is None or front.tls_secret_name is None:
        return None
    secret = named.get(front.tls_secret_name)
    where = f"Secret {front.tls_secret_name} of ingress.front.tlsSecretName"
    meanwhile = "Until then the Ingress controller serves its default certificate, which clients reject"
    if secret is None:
        remedy = "create it with tls.crt and tls.key, or check why its issuer (such as cert-manager) does not create it"
        return RouteTrouble("FrontCertificateMissing", f"{where} does not exist; {remedy}. {meanwhile}")
    pair = [secret_text(secret, key) for key in KEYS]
    missing = [key for key, text in zip(KEYS, pair, strict=True) if text is None]
    if missing:
        lacks = f"{where} has no {' and no '.join(missing)}; add what is missing. {meanwhile}"
        return RouteTrouble("FrontCertificateMissing", lacks)
    faults = certificate_faults(Certificate(pair[0] or "", pair[1] or ""), cluster.ingress.hostnames, now)
    bad = [fault.message for fault in faults if fault.grade >= Grade.REJECTED]
    return RouteTrouble("FrontCertificateInvalid", f"{where}: {'; '.join(bad)}") if bad else None
