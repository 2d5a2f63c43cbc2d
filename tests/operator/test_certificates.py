"""Certificates: accepted by a real TLS handshake, kept while they are good, renewed in time."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from chatoperator.parts.credentials import Certificate, SelfSigned
from chatoperator.parts.ingress.tls.self_signed import (
    AUTHORITY_DAYS,
    RENEW_BEFORE_DAYS,
    SERVER_DAYS,
    ensure,
    is_own,
    overdue,
    usable,
)
from tests.support.certificates import of_a_user

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("chat.example.com", "localhost", "127.0.0.1", "::1")


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def made() -> SelfSigned:
    return ensure(None, None, NAMES, now())


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_trusts_the_authority_accepts_each_name(made: SelfSigned, tmp_path: Path, name: str) -> None:
    _handshake(made, made.authority.certificate, name, tmp_path)


def test_a_client_refuses_other_names_and_other_authorities(made: SelfSigned, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(made, made.authority.certificate, "other.example.com", tmp_path)
    stranger = ensure(None, None, NAMES, now())
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(made, stranger.authority.certificate, "localhost", tmp_path)


def test_good_certificates_are_kept(made: SelfSigned) -> None:
    assert ensure(made.authority, made.server, NAMES, now()) == made
    # Order and repetition of names mean nothing.
    assert ensure(made.authority, made.server, (*reversed(NAMES), "localhost"), now()) == made


def test_the_server_certificate_is_renewed_a_month_early_under_the_same_authority(made: SelfSigned) -> None:
    before = now() + dt.timedelta(days=SERVER_DAYS - RENEW_BEFORE_DAYS - 1)
    assert ensure(made.authority, made.server, NAMES, before).server == made.server
    due = before + dt.timedelta(days=2)
    renewed = ensure(made.authority, made.server, NAMES, due)
    assert renewed.authority == made.authority
    assert renewed.server != made.server
    assert x509.load_pem_x509_certificate(renewed.server.certificate.encode()).not_valid_after_utc > due


def test_other_names_make_another_certificate(made: SelfSigned) -> None:
    renewed = ensure(made.authority, made.server, (*NAMES, "new.example.com"), now())
    assert renewed.authority == made.authority
    assert renewed.server != made.server


def test_an_old_or_broken_authority_is_replaced_with_all_it_issued(made: SelfSigned) -> None:
    late = now() + dt.timedelta(days=AUTHORITY_DAYS)
    renewed = ensure(made.authority, made.server, NAMES, late)
    assert renewed.authority != made.authority
    broken = Certificate(made.authority.certificate, "no key")
    assert ensure(broken, made.server, NAMES, now()).authority != broken


@pytest.mark.parametrize(
    "server", [Certificate("nonsense", "nonsense"), Certificate("", "")], ids=["nonsense", "empty"]
)
def test_a_broken_server_certificate_is_replaced(made: SelfSigned, server: Certificate) -> None:
    assert ensure(made.authority, server, NAMES, now()).server != server


def test_a_certificate_with_anothers_key_is_replaced(made: SelfSigned) -> None:
    other = ensure(made.authority, None, NAMES, now())
    mixed = Certificate(made.server.certificate, other.server.key)
    assert ensure(made.authority, mixed, NAMES, now()).server not in {mixed, made.server}


def test_a_pair_by_others_is_usable_while_its_key_fits_and_its_time_runs(made: SelfSigned) -> None:
    pair, begins = of_a_user().server, now()
    assert usable(pair, begins)
    assert usable(made.server, begins)
    assert not usable(Certificate(pair.certificate, of_a_user().server.key), begins)
    assert not usable(Certificate("nonsense", "nonsense"), begins)
    assert not usable(pair, begins + dt.timedelta(days=90))
    assert not usable(pair, begins - dt.timedelta(days=1))


def test_what_the_operator_issued_is_told_from_what_others_did(made: SelfSigned) -> None:
    assert is_own(made.server.certificate)
    assert not is_own(of_a_user().server.certificate)
    assert not is_own("nonsense")


@pytest.mark.parametrize("days", [1, 90])
def test_a_renewal_is_overdue_when_a_sixth_of_the_time_is_left(days: int) -> None:
    begins = now()
    made = of_a_user(since=begins, days=days).server.certificate
    due = begins + dt.timedelta(days=days) * 5 / 6
    assert not overdue(made, due - dt.timedelta(minutes=5))
    assert overdue(made, due + dt.timedelta(minutes=5))


def test_keys_are_not_shown(made: SelfSigned) -> None:
    assert "PRIVATE" not in repr(made)


def _handshake(made: SelfSigned, authority: str, name: str, folder: Path) -> None:
    """A TLS handshake in memory, both ends of it."""
    (folder / "crt").write_text(made.server.certificate)
    (folder / "key").write_text(made.server.key)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "crt", folder / "key")
    client_side = ssl.create_default_context(cadata=authority)
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    pending = [client, server]
    for _ in range(10):
        for side in list(pending):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            pending.remove(side)
        if not pending:
            return
    raise AssertionError("the handshake did not end")
