"""What is wrong with an admin's certificate is found before HAProxy and clients meet it, all of it, in plain words."""

from __future__ import annotations

import datetime as dt
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from chatoperator.parts.credentials import Certificate
from chatoperator.parts.ingress.tls.faults import Grade, certificate_faults, covers, grade
from tests.support.certificates import CLIENT_AUTH, SERVER_AUTH, issued

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC)
HOST = "chat.example.com"

WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - it is to be refused
GOOD, OTHER = issued([HOST]), issued([HOST])
ROOT, MIDDLE = issued(["root"]), issued(["stranger"])
INTERMEDIATE = issued(["intermediate"], by=ROOT)
CHAINED = issued([HOST], by=INTERMEDIATE)
ENDED = issued(["ended"], by=ROOT, since=NOW - dt.timedelta(days=9), days=8)


def encrypted(pair: Certificate) -> Certificate:
    key = serialization.load_pem_private_key(pair.key.encode(), password=None)
    form = serialization.PrivateFormat.PKCS8
    protected = serialization.BestAvailableEncryption(b"hunter2")
    return Certificate(pair.certificate, key.private_bytes(serialization.Encoding.PEM, form, protected).decode())


def with_chain(pair: Certificate, *chain: Certificate) -> Certificate:
    return Certificate("".join(made.certificate for made in (pair, *chain)), pair.key)


def words(pair: Certificate, *hostnames: str) -> str:
    return "; ".join(fault.message for fault in certificate_faults(pair, hostnames, NOW))


@pytest.mark.parametrize(
    "pair",
    [
        GOOD,
        CHAINED,
        with_chain(CHAINED, INTERMEDIATE),
        with_chain(CHAINED, INTERMEDIATE, ROOT),
        issued([HOST], usage=SERVER_AUTH),
        issued(["*.example.com"]),
        issued(["CHAT.Example.com"]),
        issued([HOST], key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        Certificate(f"Bag Attributes\r\n\r\n{GOOD.certificate}\n\n", f"\n{GOOD.key}\n"),
    ],
)
def test_a_good_pair_has_no_faults(pair: Certificate) -> None:
    assert certificate_faults(pair, [HOST], NOW) == ()


@pytest.mark.parametrize(
    ("pair", "worst", "said"),
    [
        (Certificate("nonsense", "nonsense"), Grade.UNUSABLE, "tls.crt is not a PEM certificate"),
        (Certificate(GOOD.certificate, "nonsense"), Grade.UNUSABLE, "tls.key is not a PEM private key"),
        (Certificate(GOOD.certificate[:300], GOOD.key), Grade.UNUSABLE, "tls.crt is not a PEM certificate"),
        (Certificate(GOOD.key, GOOD.certificate), Grade.UNUSABLE, "tls.crt is not a PEM certificate"),
        (Certificate(GOOD.certificate, OTHER.key), Grade.UNUSABLE, "tls.key does not belong to the certificate"),
        (
            encrypted(GOOD),
            Grade.UNUSABLE,
            "tls.key is encrypted and HAProxy cannot read it; store it without a passphrase",
        ),
        (
            Certificate(INTERMEDIATE.certificate + CHAINED.certificate, CHAINED.key),
            Grade.UNUSABLE,
            "tls.key belongs to certificate 2 in tls.crt; put the server certificate first",
        ),
        (
            issued([HOST], key=WEAK),
            Grade.UNUSABLE,
            "tls.key is RSA with 1024 bits",
        ),
        (issued([HOST], since=NOW - dt.timedelta(days=9), days=8), Grade.REJECTED, "expired at 20"),
        (issued([HOST], since=NOW + dt.timedelta(days=1)), Grade.REJECTED, "not valid before 20"),
        (issued(["other.example.com"]), Grade.REJECTED, f"does not cover {HOST} of ingress.hostnames; it covers other"),
        (issued([]), Grade.REJECTED, "it covers no host name (subjectAltName)"),
        (issued([HOST], usage=CLIENT_AUTH), Grade.REJECTED, "is not valid for servers"),
        (with_chain(CHAINED, MIDDLE), Grade.PARTLY, "certificate 2 in tls.crt did not issue the one before it"),
        (with_chain(CHAINED, ROOT), Grade.PARTLY, "certificate 2 in tls.crt did not issue the one before it"),
        (
            with_chain(issued([HOST], by=ENDED), ENDED),
            Grade.PARTLY,
            "certificate 2 in tls.crt, which belongs to an authority, exp",
        ),
        (with_chain(CHAINED, INTERMEDIATE, *[ROOT] * 40), Grade.PARTLY, "together exceed 16000 bytes"),
    ],
)
def test_a_fault_is_found_with_its_key_and_a_remedy(pair: Certificate, worst: Grade, said: str) -> None:
    faults = certificate_faults(pair, [HOST], NOW)
    assert grade(faults) == worst
    assert said in "; ".join(fault.message for fault in faults)
    assert all(";" in fault.message for fault in faults), "each says what to do"


def test_all_faults_are_told_and_the_worst_comes_first() -> None:
    old = issued(["other.example.com"], since=NOW - dt.timedelta(days=9), days=8)
    told = words(Certificate(old.certificate, GOOD.key), HOST)
    assert told.startswith("tls.key does not belong")
    assert "expired at" in told
    assert f"does not cover {HOST}" in told


def test_no_fault_tells_anything_of_a_private_key() -> None:
    swapped = words(Certificate(GOOD.key, GOOD.key), HOST) + words(Certificate(GOOD.certificate, OTHER.key), HOST)
    secret = [line for pair in (GOOD, OTHER) for line in pair.key.splitlines()]
    assert not [line for line in secret if line in swapped]


def test_a_second_hostname_that_is_not_covered_is_a_lesser_fault_than_the_first() -> None:
    assert grade(certificate_faults(GOOD, [HOST, "b.example.com"], NOW)) == Grade.PARTLY
    assert grade(certificate_faults(GOOD, ["b.example.com", HOST], NOW)) == Grade.REJECTED
    assert certificate_faults(GOOD, [], NOW) == ()


@pytest.mark.parametrize(
    ("name", "hostname", "covered"),
    [
        ("*.example.com", "chat.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.chat.example.com", False),
        ("*.example.com", ".example.com", False),
        ("example.com", "chat.example.com", False),
        ("chat.example.com.", "chat.example.com", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("chat*.example.com", "chat1.example.com", False),
    ],
)
def test_a_wildcard_covers_one_label(name: str, hostname: str, *, covered: bool) -> None:
    assert covers(name, hostname) is covered


@pytest.mark.parametrize(
    "command",
    [
        ["ecparam", "-name", "prime256v1", "-genkey"],
        ["genrsa", "-traditional"],
        ["genpkey", "-algorithm", "ED25519"],
        ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    ],
)
def test_keys_as_openssls_own_commands_write_them_are_read(tmp_path: Path, command: list[str]) -> None:
    """The first has a block with the curve's parameters before the key."""
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    subprocess.run(["openssl", *command, "-out", key], check=True, capture_output=True)
    wanted = ["-x509", "-days", "9", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-text"]
    subprocess.run(["openssl", "req", "-new", "-key", key, *wanted, "-out", certificate], check=True)
    pair = Certificate(certificate.read_text(), key.read_text())
    assert certificate_faults(pair, [HOST], dt.datetime.now(dt.UTC)) == ()
