"""Settings of the bus: each error names its variable, and none shows a password."""

from pathlib import Path

import pytest

from chatserver.bus_settings import BusSettings, ValkeyAddress, read_bus_settings
from chatserver.environment import SettingsError

GOOD = {"CHAT_BUS_TYPE": "Valkey", "CHAT_BUS_URLS": "valkey://bus-0, valkeys://[2001:db8::1]:7000"}


def test_postgresql_is_the_bus_unless_another_is_named() -> None:
    assert read_bus_settings({}) == BusSettings()
    assert BusSettings().bus_type == "PostgreSQL"


def test_each_url_is_an_address() -> None:
    settings = read_bus_settings(GOOD)
    assert settings.bus_urls == (ValkeyAddress("bus-0", 6379, tls=False), ValkeyAddress("2001:db8::1", 7000, tls=True))
    assert [str(address) for address in settings.bus_urls] == ["bus-0:6379", "[2001:db8::1]:7000"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BUS_TYPE", "Kafka"),
        ("BUS_URLS", ""),
        ("BUS_URLS", "bus-0:6379"),
        ("BUS_URLS", "http://bus-0"),
        ("BUS_URLS", "valkey://bus-0:port"),
        ("BUS_URLS", "valkey://bus-0/1"),
        ("BUS_URLS", "valkey://bus-0,valkey://bus-0:6379"),
        ("BUS_PASSWORD_FILE", "/nowhere"),
        ("BUS_CA_FILE", "/nowhere"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"CHAT_{name}"):
        read_bus_settings({**GOOD, f"CHAT_{name}": value})


def test_a_password_in_a_url_is_refused_and_not_quoted() -> None:
    with pytest.raises(SettingsError, match="CHAT_BUS_PASSWORD_FILE") as refused:
        read_bus_settings({**GOOD, "CHAT_BUS_URLS": "valkey://chat:hunter2@bus-0"})
    assert "hunter2" not in str(refused.value)


def test_the_password_is_read_at_each_use(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    settings = read_bus_settings({**GOOD, "CHAT_BUS_PASSWORD_FILE": str(file)})
    assert settings.read_password() == "old"
    file.write_text("new\n")
    assert settings.read_password() == "new"
    assert read_bus_settings(GOOD).read_password() is None


def test_servers_that_reach_each_other_have_the_same_name() -> None:
    name = read_bus_settings(GOOD).name
    assert name == read_bus_settings({**GOOD, "CHAT_BUS_USERNAME": "other"}).name
    others = [
        {},
        {**GOOD, "CHAT_BUS_PREFIX": "other"},
        {**GOOD, "CHAT_BUS_URLS": "valkey://bus-0"},
        {**GOOD, "CHAT_BUS_URLS": "valkeys://[2001:db8::1]:7000, valkey://bus-0"},
    ]
    assert name not in {read_bus_settings(other).name for other in others}
