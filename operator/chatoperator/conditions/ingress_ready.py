"""IngressReady: whether clients can connect: HAProxy, its certificate, its address, and the front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.conditions import address, workloads
from chatoperator.conditions.declared import ConditionType, Level, Reason
from chatoperator.kube.kinds import ROUTE
from chatoperator.metadata import front_name
from chatoperator.parts.ingress.front_certificate import front_certificate_trouble
from chatoperator.parts.ingress.routing import route_trouble

if TYPE_CHECKING:
    from chatoperator.conditions.declared import Condition
    from chatoperator.conditions.inputs import ConditionInputs
    from chatoperator.parts.ingress.routing import RouteTrouble

CERTIFICATE_MISSING = Reason(
    "CertificateMissing",
    ("False", "True"),
    "Create the Secret of `ingress.tls.secretName` with `tls.crt` and `tls.key`. The operator still serves a "
    "pair that it served before",
)
CERTIFICATE_INVALID = Reason(
    "CertificateInvalid",
    ("False", "True"),
    "The pair in the Secret of `ingress.tls.secretName` is invalid. The message lists each fault with the key of the "
    "Secret and the remedy. The last good pair is still served ([ingress.md](ingress.md#your-own-secret)); without "
    "one, `Ready` is False",
)
CERTIFICATE_EXPIRING = Reason(
    "CertificateExpiring",
    ("True",),
    "With mode `Secret`: your certificate expires within 14 days; put a new one into the Secret. With cert-manager: "
    "the renewal is late; check the logs of cert-manager",
)
CERTIFICATE_EXPIRED = Reason(
    "CertificateExpired",
    ("False",),
    "The certificate has expired and clients reject it. `Ready` is False until you replace it",
)
CERT_MANAGER_MISSING = Reason(
    "CertManagerMissing",
    ("False", "True"),
    "`ingress.tls.mode` is CertManager, but cert-manager is not installed. Install it, or choose another mode. "
    "`Ready` is False unless a certificate that cert-manager issued before is still served "
    "([ingress.md](ingress.md#by-cert-manager))",
    Level.WARNING,
)
CERTIFICATE_NOT_ISSUED = Reason(
    "CertificateNotIssued",
    ("False", "True"),
    "cert-manager is issuing the certificate. `Ready` as for `CertManagerMissing`",
    Level.STEP,
)
CERTIFICATE_FAILED = Reason(
    "CertificateFailed",
    ("False", "True"),
    "cert-manager could not get a certificate; the message quotes its error. Correct the issuer or the names that the "
    "error is about. `Ready` as for `CertManagerMissing`",
    Level.WARNING,
)
GATEWAY_API_MISSING = Reason(
    "GatewayApiMissing",
    ("False",),
    "`ingress.front.kind` is HTTPRoute, but the cluster has no Gateway API. Install it with a controller, or choose "
    "another front. `Ready` stays True, because its requests do not go through the front",
    Level.WARNING,
)
ROUTE_NOT_ACCEPTED = Reason(
    "RouteNotAccepted",
    ("False",),
    "A Gateway rejects the HTTPRoute (the message quotes it), or no Gateway has accepted it yet. Check that the "
    "Gateways of `ingress.front.parentRefs` exist, that they allow routes from this namespace, and that their "
    "controller runs",
)
FRONT_CERTIFICATE_MISSING = Reason(
    "FrontCertificateMissing",
    ("False",),
    "Create the Secret of `ingress.front.tlsSecretName`, or find out why its issuer does not create it. Meanwhile the "
    "Ingress controller serves its default certificate. `Ready` stays True, because its requests do not go through "
    "the front",
)
FRONT_CERTIFICATE_INVALID = Reason(
    "FrontCertificateInvalid",
    ("False",),
    "Clients reject the certificate in the Secret of `ingress.front.tlsSecretName`. The message lists each fault with "
    "the key of the Secret and the remedy. `Ready` stays True, as for `FrontCertificateMissing`",
)
ADDRESS_MISSING = Reason("AddressMissing", ("False",), address.MEANING, Level.STEP)

TYPE = ConditionType(
    "IngressReady",
    bad="False",
    summary="Clients can connect, with the certificate that the spec names.",
    reasons=(
        *workloads.REASONS,
        CERTIFICATE_MISSING,
        CERTIFICATE_INVALID,
        CERTIFICATE_EXPIRING,
        CERTIFICATE_EXPIRED,
        CERT_MANAGER_MISSING,
        CERTIFICATE_NOT_ISSUED,
        CERTIFICATE_FAILED,
        ADDRESS_MISSING,
        GATEWAY_API_MISSING,
        ROUTE_NOT_ACCEPTED,
        FRONT_CERTIFICATE_MISSING,
        FRONT_CERTIFICATE_INVALID,
    ),
)


def condition(inputs: ConditionInputs) -> Condition:
    """IngressReady."""
    made, trouble = _proxies(inputs), _route_trouble(inputs)
    if made.status == "True" and trouble is not None:
        return TYPE.condition(TYPE.reason(trouble.reason), trouble.message)
    without = address.missing(inputs)
    if made.status == "True" and without is not None:
        return TYPE.condition(ADDRESS_MISSING, without)
    return made


def _route_trouble(inputs: ConditionInputs) -> RouteTrouble | None:
    """Why clients cannot connect through the Ingress or HTTPRoute; None where they can, and without one."""
    if inputs.desired is None:
        return None
    cluster, served = inputs.desired.cluster, inputs.desired.served
    route = inputs.observed.child(ROUTE, front_name(cluster.name))
    trouble = front_certificate_trouble(cluster, inputs.observed.user_secrets, inputs.now)
    return trouble or route_trouble(cluster, route, known=ROUTE in served)


def _proxies(inputs: ConditionInputs) -> Condition:
    if inputs.cluster is not None and inputs.cluster.ingress.issuer is not None:
        return _by_cert_manager(inputs)
    made, expiry = workloads.part_condition(inputs, "ingress", TYPE), inputs.expiry
    trouble = inputs.serving.trouble
    if trouble is not None:
        # Even where clients notice nothing yet: the spec names it, and it is not served.
        return TYPE.condition(TYPE.reason(trouble.reason), trouble.message)
    if expiry is None or inputs.cluster is None or not (expiry.expired or expiry.soon):
        return made
    secret = inputs.cluster.ingress.tls_secret_name
    renew = f"Replace tls.crt and tls.key in Secret {secret}"
    if expiry.expired:
        message = f"The certificate in Secret {secret} expired at {expiry.at}; clients reject it. {renew}"
        return TYPE.condition(CERTIFICATE_EXPIRED, message)
    if made.status == "True":
        message = f"{made.message}; the certificate in Secret {secret} expires at {expiry.at}. {renew} before that time"
        return TYPE.condition(CERTIFICATE_EXPIRING, message)
    return made


def _by_cert_manager(inputs: ConditionInputs) -> Condition:
    """What cert-manager does not do is bad only where clients notice."""
    made, expiry = workloads.part_condition(inputs, "ingress", TYPE), inputs.expiry
    trouble = inputs.serving.trouble
    if trouble is not None and not trouble.accepted:
        return TYPE.condition(TYPE.reason(trouble.reason), trouble.message)
    if made.status != "True":
        return made
    if trouble is not None:
        return TYPE.condition(TYPE.reason(trouble.reason), f"{made.message}; {trouble.message}", "True")
    if expiry is not None and expiry.soon:
        # It may have stopped before it could report what is wrong.
        late = f"cert-manager has not renewed the certificate, which expires at {expiry.at}"
        return TYPE.condition(CERTIFICATE_EXPIRING, f"{made.message}; {late}; check the logs of cert-manager")
    return made
