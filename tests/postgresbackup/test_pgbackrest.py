"""What pgBackRest gets beside its configuration."""

from __future__ import annotations

from postgresbackup.pgbackrest import with_signature


def test_a_signature_of_azure_takes_the_place_of_the_accounts_key() -> None:
    given = with_signature({"PATH": "/bin", "AZURE_SAS_TOKEN": "sv=1&sig=a"})
    assert given["PGBACKREST_REPO1_AZURE_KEY"] == "sv=1&sig=a"
    assert given["PGBACKREST_REPO1_AZURE_KEY_TYPE"] == "sas"


def test_without_one_nothing_changes() -> None:
    environment = {"PATH": "/bin", "PGBACKREST_REPO1_AZURE_KEY": "key"}
    assert with_signature(environment) == environment
    assert with_signature({**environment, "AZURE_SAS_TOKEN": ""})["PGBACKREST_REPO1_AZURE_KEY"] == "key"
