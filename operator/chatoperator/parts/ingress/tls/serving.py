"""Which certificate HAProxy is to serve: the operator's own, the user's, or the one that cert-manager issued."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatoperator.kube.objects import mounted_secrets, secret_text
from chatoperator.metadata import ca_secret_name, digest, issued_secret_name, service_host, tls_secret_name
from chatoperator.parts.credentials import Certificate, Issued, SelfSigned
from chatoperator.parts.ingress.tls import self_signed
from chatoperator.parts.ingress.tls.issuance import issuance
from chatoperator.parts.ingress.tls.supplied import supplied
from chatoperator.parts.losses import NOTHING_LOST, Losses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.ingress.tls.issuance import CertificateTrouble, Served
    from chatoperator.settings import Settings


@dataclass(frozen=True)
class Serving:
    """What HAProxy is to serve: one of the two, or none while there is nothing new to serve.

    Attributes:
        self_signed: The operator's own.
        issued: By cert-manager, or the last good one of the admin's own Secret.
        trouble: What is wrong with the certificate's source; None where nothing is.
        expires: When it expires; None where the operator renews it, or it is not known.
        overdue: cert-manager has not renewed it in time.
        certificate_uid: Of the live Certificate, if there is also the Secret that it fills; None otherwise.
    """

    self_signed: SelfSigned | None = None
    issued: Issued | None = None
    trouble: CertificateTrouble | None = None
    expires: dt.datetime | None = None
    overdue: bool = False
    certificate_uid: str | None = None

    @property
    def pair(self) -> Certificate | None:
        """Certificate and key."""
        if self.self_signed is not None:
            return self.self_signed.server
        return self.issued.server if self.issued is not None else None

    @property
    def digest(self) -> str | None:
        """Changes with what HAProxy is to serve; None while that is nothing.

        With the key, so that one that is corrected later is noticed; a hash of a key reveals nothing.
        """
        return digest([self.pair.certificate, self.pair.key]) if self.pair is not None else None


def serving(
    cluster: ChatCluster,
    observed: Observed,
    named: Mapping[str, Manifest | None],
    settings: Settings,
    now: dt.datetime,
    lost: Losses = NOTHING_LOST,
    *,
    certificates_known: bool,
) -> Serving:
    """Decide it.

    Args:
        cluster: The parsed spec.
        observed: The children.
        named: The user's Secrets by name.
        settings: The operator's own.
        now: The time with its zone.
        lost: What is lost; an authority that is gets no successor.
        certificates_known: Whether the cluster has cert-manager's kind Certificate.
    """
    if cluster.created:
        # A clock that is behind the ChatCluster's own beginning is wrong: certificates made since are not too young.
        now = max(now, dt.datetime.fromisoformat(cluster.created))
    name = cluster.ingress.tls_secret_name
    if name is not None:
        served, trouble = supplied(cluster, name, named.get(name), observed, now)
        expires = self_signed.expires_at(served.server.certificate) if served else None
        return Serving(issued=served, trouble=trouble, expires=expires)
    if cluster.ingress.issuer is not None:
        return _by_cert_manager(cluster, observed, settings, now, lost, known=certificates_known)
    if ("Secret", ca_secret_name(cluster.name)) in lost.withheld:
        # What it has issued is still served: clients trust that.
        return Serving(issued=_issued_before(observed.child("Secret", tls_secret_name(cluster.name)), now))
    return Serving(self_signed=_self_signed(cluster, observed, settings, now, lost))


def _by_cert_manager(
    cluster: ChatCluster, observed: Observed, settings: Settings, now: dt.datetime, lost: Losses, *, known: bool
) -> Serving:
    name = issued_secret_name(cluster.name)
    certificate, filled = observed.child("Certificate", name), observed.child("Secret", name)
    new = _issued(filled, now)
    # What HAProxy has outlives a Secret that somebody deleted to have it issued again, and one that is broken.
    served = new or _issued(observed.child("Secret", tls_secret_name(cluster.name)), now)
    proxies = observed.workload(cluster.name, "ingress")
    # What clients accept until now is no worse than a certificate that they refuse.
    others = proxies is not None and tls_secret_name(cluster.name) not in mounted_secrets(proxies)
    meanwhile: Served = "issued" if served else "other" if others else "self-signed"
    return Serving(
        self_signed=_self_signed(cluster, observed, settings, now, lost) if meanwhile == "self-signed" else None,
        issued=served,
        trouble=issuance(
            cluster,
            certificate,
            known=known,
            filled=new is not None,
            serves=meanwhile,
        ),
        expires=self_signed.expires_at(served.server.certificate) if served else None,
        overdue=served is not None and self_signed.overdue(served.server.certificate, now),
        certificate_uid=certificate["metadata"]["uid"] if certificate is not None and filled is not None else None,
    )


def _issued(secret: Manifest | None, now: dt.datetime) -> Issued | None:
    """What a Secret holds, if somebody else issued it and clients could accept it."""
    made = _issued_before(secret, now)
    return None if made is None or self_signed.is_own(made.server.certificate) else made


def _issued_before(secret: Manifest | None, now: dt.datetime) -> Issued | None:
    """What a Secret holds, if clients could accept it."""
    pair = _pair(secret, "tls.crt", "tls.key")
    if pair is None or not self_signed.usable(pair, now):
        return None
    return Issued(pair, secret_text(secret, "ca.crt"))


def _self_signed(
    cluster: ChatCluster, observed: Observed, settings: Settings, now: dt.datetime, lost: Losses
) -> SelfSigned:
    held = _pair(observed.child("Secret", ca_secret_name(cluster.name)), "ca.crt", "ca.key")
    server = observed.child("Secret", tls_secret_name(cluster.name))
    host = service_host(cluster, "ingress")
    names = (*cluster.ingress.hostnames, "localhost", "127.0.0.1", host, f"{host}.{settings.cluster_domain}")
    return self_signed.ensure(lost.authority or held, _pair(server, "tls.crt", "tls.key"), names, now)


def _pair(secret: Manifest | None, certificate_key: str, private_key: str) -> Certificate | None:
    certificate, key = secret_text(secret, certificate_key), secret_text(secret, private_key)
    return Certificate(certificate, key) if certificate and key else None
