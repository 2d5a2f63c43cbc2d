"""Of the user's Secrets the keys that the spec needs are kept, up to their bounds, whatever else is in them."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest

from chatoperator.api import dsn
from chatoperator.observed import Observed
from chatoperator.parts.credentials import Certificate
from chatoperator.parts.ingress.tls.faults import CERTIFICATE_BYTES_MAX, Grade, certificate_faults, grade
from chatoperator.parts.ingress.tls.supplied import supplied
from chatoperator.reconcile.usersecrets import needed, reduced
from tests.support.certificates import issued
from tests.support.chatclusters import NOW, cluster

KIB = 1024


def secret(**texts: str) -> dict[str, Any]:
    data = {key.replace("_", "."): base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {"kind": "Secret", "metadata": {"name": "own", "managedFields": [{"manager": "x" * 9_999}]}, "data": data}


EVERYTHING: dict[str, Any] = {
    "ingress": {
        "hostnames": ["a.example.com"],
        "tls": {"mode": "Secret", "secretName": "own"},
        "front": {"kind": "Ingress", "tlsSecretName": "front"},
    },
    "auth": {"otp": {"sender": "Webhook", "webhook": {"url": "https://a.example.com", "secretName": "own"}}},
    "database": {"external": {"secretName": "database", "secretKey": "uri", "caSecretName": "database"}},
}


def test_each_secret_is_read_for_the_keys_that_the_spec_needs_of_it() -> None:
    keys = {name: set(keys) for name, keys in needed(cluster(**EVERYTHING)).items()}
    pair = {"tls.crt", "tls.key", "ca.crt"}
    assert keys == {"own": pair | {"secret"}, "front": pair, "database": {"uri", "ca.crt"}}
    assert needed(cluster()) == {}


def test_a_secret_of_a_megabyte_takes_no_more_than_what_is_needed_of_it() -> None:
    whole = secret(tls_crt="c" * 700 * KIB, tls_key="k", secret="s" * 300 * KIB, junk="j" * 700 * KIB)
    made = reduced(whole, needed(cluster(**EVERYTHING))["own"])
    assert set(made["data"]) == {"tls.crt", "tls.key", "secret"}
    assert len(json.dumps(made)) < 100 * KIB
    # So that it is found too long, and not taken for another one.
    assert len(base64.b64decode(made["data"]["tls.crt"])) > CERTIFICATE_BYTES_MAX
    assert base64.b64decode(made["data"]["tls.key"]) == b"k"


@pytest.mark.parametrize("key", ["tls.crt", "tls.key"])
def test_what_is_longer_than_any_certificate_is_not_served(key: str) -> None:
    long = "x" * (CERTIFICATE_BYTES_MAX + 1)
    pair = Certificate(long, "k") if key == "tls.crt" else Certificate("c", long)
    faults = certificate_faults(pair, (), NOW)
    assert grade(faults) == Grade.UNUSABLE
    assert [fault.message for fault in faults] == [
        f"{key} exceeds 64 KiB; store only the server certificate and its chain"
    ]


def test_a_long_authority_is_left_out_and_told() -> None:
    now = dt.datetime.now(dt.UTC)
    made = issued(["a.example.com"])
    ingress = {name: value for name, value in EVERYTHING["ingress"].items() if name != "front"}
    chat = cluster(ingress=ingress)
    given = secret(tls_crt=made.certificate, tls_key=made.key, ca_crt="x" * (CERTIFICATE_BYTES_MAX + 1))
    served, trouble = supplied(chat, "own", given, Observed({}, ()), now)
    assert served is not None
    assert served.authority is None
    assert trouble is not None
    assert "ca.crt exceeds 64 KiB and is ignored; store only the certificate of the issuer" in trouble.message


def test_a_long_url_is_refused_without_being_shown() -> None:
    with pytest.raises(dsn.DsnError, match="more than 8192 bytes") as refused:
        dsn.read("postgresql://chat:secret@a/chat?" + "x" * dsn.BYTES_MAX)
    assert "secret" not in str(refused.value)
