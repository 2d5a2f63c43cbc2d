"""A key in a tenant's Secret costs the operator milliseconds, whatever its numbers: minutes would stop all chats."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chatoperator.parts.credentials import Certificate
from chatoperator.parts.ingress.tls import self_signed
from chatoperator.parts.ingress.tls.faults import CHAIN_MAX, Grade, certificate_faults, grade
from chatoperator.parts.ingress.tls.keys import load_private_key
from tests.support.certificates import issued
from tests.support.costlykeys import PKCS3, X942, diffie_hellman_certificate, diffie_hellman_key, rsa_key

NOW = dt.datetime.now(dt.UTC)
GOOD = issued([])

COSTLY = {
    "RSA": rsa_key(),
    "RSA, one prime twice": rsa_key(2**2203 - 1, 2**2281 - 1).replace("A", "B", 1),
    "Diffie-Hellman": diffie_hellman_key(PKCS3),
    "Diffie-Hellman, X9.42": diffie_hellman_key(X942),
    "Diffie-Hellman that calls itself RSA": diffie_hellman_key(PKCS3, "RSA PRIVATE KEY"),
    "behind parameters": "-----BEGIN EC PARAMETERS-----\nBggq\n-----END EC PARAMETERS-----\n"
    + diffie_hellman_key(X942),
}


@pytest.mark.parametrize("key", COSTLY.values(), ids=COSTLY)
def test_a_key_with_numbers_that_take_hours_to_check_is_judged_without(key: str) -> None:
    """Without bounds this test does not end: Python has no turn while OpenSSL looks for factors."""
    pair = Certificate(GOOD.certificate, key)
    assert grade(certificate_faults(pair, [], NOW)) == Grade.UNUSABLE
    assert not self_signed.fits(pair)


@pytest.mark.parametrize("kind", [PKCS3, X942])
def test_a_certificate_with_such_a_key_is_judged_without(kind: bytes) -> None:
    costly = diffie_hellman_certificate(kind)
    assert grade(certificate_faults(Certificate(costly, GOOD.key), [], NOW)) == Grade.UNUSABLE
    assert not self_signed.fits(Certificate(costly, GOOD.key))
    behind = certificate_faults(Certificate(GOOD.certificate + costly, GOOD.key), [], NOW)
    assert "certificate 2 in tls.crt did not issue the one before it" in "; ".join(one.message for one in behind)


def test_of_a_long_chain_only_the_first_signatures_are_checked() -> None:
    root = issued(["root"])
    chain = Certificate(GOOD.certificate + root.certificate * CHAIN_MAX, GOOD.key)
    messages = [fault.message for fault in certificate_faults(chain, [], NOW)]
    assert f"tls.crt holds {CHAIN_MAX + 1} certificates" in "; ".join(messages)
    assert not [message for message in messages if f"certificate {CHAIN_MAX + 1} in" in message]


def test_numbers_that_contradict_each_other_make_no_key() -> None:
    """OpenSSL's own check would find it, too: HAProxy would start with it, and each handshake fail."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    wrong = rsa.RSAPrivateNumbers(made.p, made.q, made.d, made.dmp1, made.dmq1 + 2, made.iqmp, made.public_numbers)
    key = wrong.private_key(unsafe_skip_rsa_key_validation=True)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    with pytest.raises(ValueError, match="inconsistent"):
        load_private_key(text)


def test_keys_that_no_server_has_are_refused() -> None:
    made = dsa.generate_private_key(1024)  # noqa: S505 - it is to be refused
    text = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(ValueError, match="not a key for TLS servers"):
        load_private_key(text)
