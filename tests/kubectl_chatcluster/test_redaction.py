import gzip
import io
import json
import tarfile
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kubectl_chatcluster import archive, redaction
from tests.kubectl_chatcluster.objects import NOW

CANARY = "kanarienvogel-7391"

PEM = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n{CANARY}\n-----END PRIVATE KEY-----\n"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJrYW5hcmllbiJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "planted",
    [
        f"connect to postgresql://chat:{CANARY}@demo-postgres.chat.svc:5432/chat failed",
        f"connect to postgres://chat:a@b/{CANARY}@demo-postgres:5432/chat failed",
        f"host=demo-postgres user=chat password={CANARY} dbname=chat",
        f"password = '{CANARY} and more {CANARY}'",
        f"PGPASSWORD={CANARY} psql",
        f"CHAT_OTP_WEBHOOK_SECRET: {CANARY}",
        f"Authorization: Bearer {CANARY}",
        f"authorization: Basic {CANARY}==",
        f"GET /api/ws?ticket={CANARY}&x=1 HTTP/1.1",
        f"GET /x?access_token={CANARY}",
        f"https://sms.example.com/send?to=ana&key={CANARY}&x=1",
        f'{{"token": "{CANARY}", "user_id": 7}}',
        f'{{\\"password\\": \\"{CANARY}\\"}}',
        f"--password={CANARY}",
        f"https://hooks.example.com/services/T0/{CANARY}{'x7' * 8} was not reached",
        f"https://sms.example.com/send?anything={CANARY}",
        f"CHAT_OTP_WEBHOOK_URL=https://sms.example.com/{CANARY}/send?x=1",
        f'{{"webhook_url": "https://sms.example.com/{CANARY}"}}',
        f"stats auth admin\n{PEM}",
        json.dumps({"tls.key": PEM}),
    ],
)
@pytest.mark.parametrize("path", ["a.txt", "a.log"])
def test_a_planted_secret_never_gets_into_a_text_file(planted: str, path: str) -> None:
    assert CANARY not in archive.redacted(path, planted)
    assert redaction.REDACTED in archive.redacted(path, planted)


@pytest.mark.parametrize(
    "planted",
    [
        {"kind": "Secret", "data": {"anything": CANARY}, "stringData": {"else": CANARY}},
        {"env": [{"name": "SMTP_PASSWORD", "value": CANARY}]},
        {"metadata": {"annotations": {"last-applied": json.dumps({"spec": {"password": CANARY}})}}},
        {"data": {"conf": f"primary_conninfo = 'host=a password={CANARY}'"}},
        {"args": [f"--api-key={CANARY}"]},
        {"tokens": [{"token": CANARY}]},
        {"message": f"dial postgres://u:{CANARY}@h"},
        {"password": [CANARY]},
        {"webhook": {"url": f"https://sms.example.com/send?key={CANARY}"}},
        {"webhook": {"url": f"https://sms.example.com/{CANARY}/send"}},
        {"webhook": {"url": f"https://{CANARY}"[:6] + f"@@{CANARY}"}},
        {"env": [{"name": "CHAT_OTP_WEBHOOK_URL", "value": f"https://sms.example.com/{CANARY}"}]},
        {"annotations": {"last": json.dumps({"webhook": {"url": f"https://sms.example.com/{CANARY}"}})}},
        {f"postgres://u:{CANARY}@h": 1},
    ],
)
def test_a_planted_secret_never_gets_into_an_object(planted: dict[str, Any]) -> None:
    made = archive.redacted("a.json", {"list": [planted]})
    assert CANARY not in made
    json.loads(made)


@pytest.mark.parametrize(
    "planted",
    ["+14155550101", "+1 415 555-0101", "+1 (415) 555-0101", "%2B14155550101", "tel:+14155550101", "+4915112345678"],
)
@pytest.mark.parametrize("around", ["{}", "number {} called", '{{"event": "sent to {}"}}', "phone_number={}&x"])
def test_phone_numbers_are_masked(planted: str, around: str) -> None:
    made = archive.redacted("a.log", around.format(planted))
    assert "5550101" not in made.replace("-", "").replace(" ", "")
    assert "112345" not in made
    assert "*" in made or redaction.REDACTED in made


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'"), min_size=8))
def test_no_password_survives_in_a_dsn(password: str) -> None:
    # Hypothesis tries the constants it finds in the code, too.
    assume(password != redaction.REDACTED)
    made = redaction.text(f"error: postgresql://chat:{password}@demo-postgres:5432/chat")
    assert made.count(redaction.REDACTED) >= 1
    assert f":{password}@" not in made


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_json_holds_stays_json(found: Any) -> None:
    json.loads(archive.redacted("a.json", {"x": found}))


def test_jwts_go() -> None:
    assert JWT not in redaction.text(f"sent {JWT} on")


@pytest.mark.parametrize(
    "plain",
    [
        '{"secretName": "demo-database", "mountPath": "/etc/chatcluster/database"}',
        "CHAT_DATABASE_DSN_FILE=/etc/chatcluster/database/dsn",
        "chatserver_connections 1.0e+06",
        "2026-11-22T12:00:00.000000+00:00 Started container chatserver",
        "https://chat.example.com/ image registry.example.com/chat:1@sha256:0123",
        "PodDisruptionBudget demo-chatserver allows 1",
    ],
)
def test_what_is_no_secret_stays(plain: str) -> None:
    assert redaction.text(plain) == plain


def test_the_archive_holds_each_file_redacted_for_the_owner_alone() -> None:
    packed = archive.pack(
        {"a/b.json": {"token": CANARY, "metadata": {"managedFields": [1]}}, "c.log": f"password={CANARY}"}, "top", NOW
    )
    assert CANARY.encode() not in gzip.decompress(packed)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert tar.getnames() == ["top/a/b.json", "top/c.log"]
        assert {member.mode for member in tar.getmembers()} == {0o600}
        first = tar.extractfile("top/a/b.json")
        assert first is not None
        assert json.load(first) == {"token": redaction.REDACTED, "metadata": {}}


def test_secrets_are_known_by_the_objects_that_use_them() -> None:
    volumes = [
        {"secret": {"secretName": "demo-database", "items": [{"key": "dsn", "path": "dsn"}]}},
        {"secret": {"secretName": "demo-ingress-tls"}},
    ]
    environment = [{"valueFrom": {"secretKeyRef": {"name": "mine", "key": "smtp"}}}]
    bodies = [{"spec": {"volumes": volumes, "containers": [{"env": environment}]}}]
    assert archive.secret_references(bodies) == {"demo-database": ["dsn"], "demo-ingress-tls": [], "mine": ["smtp"]}
