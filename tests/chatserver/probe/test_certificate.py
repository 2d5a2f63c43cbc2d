"""What the probe reads of the server's certificate, and which certificates it accepts."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from chatserver.probe.certificate import CertificateUnreadable, Trust, TrustUnusable, expiry_of

if TYPE_CHECKING:
    from pathlib import Path


def made(expires: dt.datetime, name: str = "chat.example.com") -> bytes:
    """A self-signed certificate in DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(expires - dt.timedelta(days=400))
        .not_valid_after(expires)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("year", [1999, 2026, 2049, 2050, 2120])
def test_the_expiry_of_a_certificate_is_read_in_both_forms_of_time(year: int) -> None:
    expires = dt.datetime(year, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
    assert expiry_of(made(expires)) == expires.timestamp()


@given(st.binary(max_size=200))
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(CertificateUnreadable):
        expiry_of(data)


@given(st.integers(0, 400))
def test_a_part_of_a_certificate_is_refused(length: int) -> None:
    whole = made(dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
    with pytest.raises(CertificateUnreadable):
        expiry_of(whole[: min(length, len(whole) - 1)])


def test_only_the_first_certificate_of_the_file_is_trusted_whatever_its_name_is(tmp_path: Path) -> None:
    leaf, issuer = (made(dt.datetime(2030, 1, 1, tzinfo=dt.UTC), name) for name in ("leaf", "issuer"))
    file = tmp_path / "tls.crt"
    file.write_text(ssl.DER_cert_to_PEM_cert(leaf) + ssl.DER_cert_to_PEM_cert(issuer))
    context = Trust(certificate=file).context
    assert context.cert_store_stats()["x509"] == 1
    assert not context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_a_renewed_certificate_is_trusted_beside_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "tls.crt"
    file.write_text(ssl.DER_cert_to_PEM_cert(made(dt.datetime(2030, 1, 1, tzinfo=dt.UTC))))
    trust = Trust(certificate=file)
    trust.refresh()
    assert trust.context.cert_store_stats()["x509"] == 1
    file.write_text(ssl.DER_cert_to_PEM_cert(made(dt.datetime(2031, 1, 1, tzinfo=dt.UTC))))
    trust.refresh()
    assert trust.context.cert_store_stats()["x509"] == 2


def test_without_a_file_public_authorities_and_the_name_count() -> None:
    context = Trust().context
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509_ca"] > 50


def test_insecure_accepts_any() -> None:
    context = Trust(insecure=True).context
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe"])
def test_a_file_without_a_certificate_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TrustUnusable, match=r"ca\.crt"):
        Trust(authorities=file)
