"""Settings: read once, each complaint names its variable."""

from pathlib import Path

import pytest

from chatserver.settings import SettingsError, read_settings

GOOD = {"CHAT_DATABASE_DSN": "postgresql://chat@db/chat", "CHAT_SECRET_KEY": "0123456789abcdef"}


def test_defaults_are_those_of_the_contract() -> None:
    settings = read_settings(GOOD)
    assert (settings.http_port, settings.metrics_port, settings.database_pool_size) == (8080, 9090, 8)
    assert (settings.drain_seconds, settings.readiness_notice_seconds) == (30, 5)
    assert (settings.max_connections, settings.trusted_proxy_hops, settings.session_days) == (10_000, 1, 90)
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
        ("OTP_SENDER", "Webhook"),
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
