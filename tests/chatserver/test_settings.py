"""Settings: read once, each complaint names its variable."""

from pathlib import Path

import pytest

from chatserver.environment import SettingsError
from chatserver.settings import read_settings

GOOD = {"CHAT_DATABASE_DSN": "postgresql://chat@db/chat", "CHAT_SECRET_KEY": "0123456789abcdef"}


def test_defaults_are_those_of_the_contract() -> None:
    settings = read_settings(GOOD)
    assert (settings.http_port, settings.metrics_port, settings.database_pool_size) == (8080, 9090, 8)
    assert (settings.drain_seconds, settings.readiness_notice_seconds) == (30, 5)
    assert (settings.heartbeat_seconds, settings.shed_percent_per_second) == (5, 1)
    assert (settings.max_connections, settings.trusted_proxy_hops, settings.session_days) == (12_500, 1, 90)
    assert settings.web_root is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "http"),
        ("HTTP_PORT", "70000"),
        ("HTTP_PORT", "80.5"),
        ("HTTP_PORT", "nan"),
        ("DATABASE_POOL_SIZE", "0"),
        ("DRAIN_SECONDS", "-1"),
        ("READINESS_NOTICE_SECONDS", "31"),
        ("HEARTBEAT_SECONDS", "0"),
        ("SHED_PERCENT_PER_SECOND", "101"),
        ("OTP_SENDER", "Pigeon"),
        ("CODES_PER_NUMBER_PER_HOUR", "0"),
        ("MESSAGES_PER_USER_PER_MINUTE", "-1"),
        ("REQUESTS_PER_DEVICE_PER_MINUTE", "many"),
        ("REQUESTS_PER_ADDRESS_PER_MINUTE", "0.5"),
        ("LOG_LEVEL", "LOUD"),
        ("ALLOWED_ORIGINS", "chat.example.com"),
        ("WEB_ROOT", "/nowhere"),
        ("SECRET_KEY", "short"),
        ("SECRET_KEY_FILE", "/nowhere"),
        ("DATABASE_DSN_FILE", "/nowhere"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"CHAT_{name}"):
        read_settings({**GOOD, f"CHAT_{name}": value})


@pytest.mark.parametrize("name", ["CHAT_DATABASE_DSN", "CHAT_SECRET_KEY"])
def test_what_has_no_default_must_be_set(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({key: value for key, value in GOOD.items() if key != name})


def test_secrets_do_not_show_in_the_repr() -> None:
    settings = read_settings({**GOOD, "CHAT_DATABASE_DSN": "postgresql://chat:hunter2@db/chat"})
    assert "hunter2" not in repr(settings)
    assert GOOD["CHAT_SECRET_KEY"] not in repr(settings)


def test_a_pooler_needs_the_dsn_of_postgresql_itself(tmp_path: Path) -> None:
    pooled = {**GOOD, "CHAT_DATABASE_POOLER": "transaction"}
    with pytest.raises(SettingsError, match="CHAT_DATABASE_LISTEN_DSN"):
        read_settings(pooled)
    settings = read_settings({**pooled, "CHAT_DATABASE_LISTEN_DSN": "postgresql://direct"})
    assert settings.read_listen_dsn() == "postgresql://direct"
    assert settings.read_database_dsn() == GOOD["CHAT_DATABASE_DSN"]
    file = tmp_path / "dsn"
    file.write_text("postgresql://in-a-file\n")
    settings = read_settings({**pooled, "CHAT_DATABASE_LISTEN_DSN_FILE": str(file)})
    assert settings.read_listen_dsn() == "postgresql://in-a-file"
    assert read_settings(GOOD).read_listen_dsn() == GOOD["CHAT_DATABASE_DSN"]


def test_the_dsn_file_is_read_at_each_use(tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text("postgresql://old\n")
    settings = read_settings({"CHAT_DATABASE_DSN_FILE": str(file), "CHAT_SECRET_KEY": GOOD["CHAT_SECRET_KEY"]})
    assert settings.read_database_dsn() == "postgresql://old"
    file.write_text("postgresql://new\n")
    assert settings.read_database_dsn() == "postgresql://new"


def test_origins_are_a_list() -> None:
    settings = read_settings({**GOOD, "CHAT_ALLOWED_ORIGINS": "https://a.example, http://b.example:8080/,"})
    assert settings.allowed_origins == {"https://a.example", "http://b.example:8080"}


def test_migrate_needs_no_key() -> None:
    assert read_settings({"CHAT_DATABASE_DSN": "postgresql://x"}, needs_secret_key=False).secret_key == b""


WEBHOOK = {
    **GOOD,
    "CHAT_OTP_SENDER": "Webhook",
    "CHAT_OTP_WEBHOOK_URL": "https://gateway.example.com/codes?key=hunter3",
    "CHAT_OTP_WEBHOOK_SECRET": "a key for the gateway",
}


def test_a_webhook_has_a_url_and_a_key_that_do_not_show() -> None:
    settings = read_settings(WEBHOOK)
    assert settings.otp_webhook is not None
    assert settings.otp_webhook.url == WEBHOOK["CHAT_OTP_WEBHOOK_URL"]
    assert settings.otp_webhook.read_secret() == b"a key for the gateway"
    for secret in ("hunter3", "a key for the gateway"):
        assert secret not in repr(settings)
    assert read_settings(GOOD).otp_webhook is None
    # Migrations send no codes: their Job has no key.
    without_key = {name: value for name, value in WEBHOOK.items() if "SECRET" not in name}
    assert read_settings(without_key, needs_secret_key=False).otp_webhook is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/codes", "http://localhost/", "http://[::1]:1/"])
def test_a_webhook_on_this_machine_may_do_without_tls(url: str) -> None:
    assert read_settings({**WEBHOOK, "CHAT_OTP_WEBHOOK_URL": url}).otp_webhook is not None


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"CHAT_OTP_WEBHOOK_URL": ""}, "needs CHAT_OTP_WEBHOOK_URL: the URL to which codes are posted"),
        ({"CHAT_OTP_WEBHOOK_URL": "http://gateway.example.com/"}, "must begin with https://"),
        ({"CHAT_OTP_WEBHOOK_URL": "http://127.0.0.1.example.com/"}, "must begin with https://"),
        ({"CHAT_OTP_WEBHOOK_URL": "ftp://gateway.example.com/"}, "must begin with https://"),
        ({"CHAT_OTP_WEBHOOK_URL": "gateway.example.com"}, "must be an absolute URL"),
        ({"CHAT_OTP_WEBHOOK_URL": "https://gateway.example.com/a b"}, "must be an absolute URL"),
        ({"CHAT_OTP_WEBHOOK_URL": "https://gateway.example.com:port/"}, "is not a URL"),
        ({"CHAT_OTP_WEBHOOK_URL": "https://me:hunter3@gateway.example.com/"}, "neither a user name nor a fragment"),
        ({"CHAT_OTP_WEBHOOK_SECRET": ""}, "exactly one of CHAT_OTP_WEBHOOK_SECRET and CHAT_OTP_WEBHOOK_SECRET_FILE"),
        ({"CHAT_OTP_WEBHOOK_SECRET_FILE": "/some/file"}, "exactly one of"),
        ({"CHAT_OTP_WEBHOOK_SECRET": "short"}, "must have at least 16 bytes"),
        (
            {"CHAT_OTP_WEBHOOK_SECRET": "", "CHAT_OTP_WEBHOOK_SECRET_FILE": "/nowhere"},
            "CHAT_OTP_WEBHOOK_SECRET_FILE cannot be read (No such file",
        ),
    ],
)
def test_a_webhook_that_cannot_work_is_refused_with_a_remedy(changed: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({**WEBHOOK, **changed})
    assert sentence in str(caught.value)
    assert "hunter3" not in str(caught.value)


def test_the_webhooks_key_file_is_read_at_each_use(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("the first of two keys\n")
    environ = {**WEBHOOK, "CHAT_OTP_WEBHOOK_SECRET": "", "CHAT_OTP_WEBHOOK_SECRET_FILE": str(file)}
    webhook = read_settings(environ).otp_webhook
    assert webhook is not None
    assert webhook.read_secret() == b"the first of two keys"
    file.write_text("the second of two keys\n")
    assert webhook.read_secret() == b"the second of two keys"
    file.write_text("short")
    with pytest.raises(ValueError, match="at least 16 bytes"):
        webhook.read_secret()
