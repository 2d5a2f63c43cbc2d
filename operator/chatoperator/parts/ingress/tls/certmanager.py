"""What cert-manager gets: a Certificate, and whose the Secret is that it fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.metadata import issued_secret_name, labels, metadata

if TYPE_CHECKING:
    from chatoperator.api.ingress import Issuer
    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

API_VERSION = "cert-manager.io/v1"


def certificate(cluster: ChatCluster, issuer: Issuer) -> Manifest:
    """A certificate for the chat's hostnames, with a new key each time that it is issued.

    How long it lasts, and when it is renewed, is left to the issuer and cert-manager: by default 90 days, a third of
    them before the end.
    """
    name = issued_secret_name(cluster.name)
    return {
        "apiVersion": API_VERSION,
        "kind": "Certificate",
        "metadata": metadata(cluster, name, "ingress"),
        "spec": {
            # Not the one that HAProxy mounts: that has to hold a pair also before the first is issued.
            "secretName": name,
            # With the operator's labels its watches see the Secret, so that a new pair is served at once.
            "secretTemplate": {"labels": labels(cluster.name, "ingress")},
            "dnsNames": list(cluster.ingress.hostnames),
            "issuerRef": {"name": issuer.name, "kind": issuer.kind, "group": issuer.group},
            # A reconnect storm costs HAProxy a signature each: a tenth of what RSA takes.
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "key encipherment", "server auth"],
        },
    }


def issued_secret(cluster: ChatCluster, certificate_uid: str) -> Manifest:
    """The filled Secret as a child of its Certificate, with which it goes; cert-manager would leave it behind.

    Only for a Secret that exists: this one is empty.
    """
    made = metadata(cluster, issued_secret_name(cluster.name), "ingress")
    owner = {
        "apiVersion": API_VERSION,
        "kind": "Certificate",
        "name": issued_secret_name(cluster.name),
        "uid": certificate_uid,
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {**made, "ownerReferences": [owner]}}
