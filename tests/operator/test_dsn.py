"""URLs of databases that users run: read as the chatservers' driver reads them, refused without being shown."""

from __future__ import annotations

import pytest

from chatoperator.api import dsn


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("postgresql://chat:secret@db.example.com/chat", (5432,)),
        ("postgres://chat:se%40cret@db.example.com:5433/chat?sslmode=require", (5433,)),
        ("postgresql://chat@a.example.com:5433,b.example.com/chat", (5432, 5433)),
        ("postgresql://chat@[2001:db8::1]:5434/chat", (5434,)),
        ("postgresql://chat@[2001:db8::1]/chat", (5432,)),
        ("postgresql://chat@/chat?host=db.example.com&port=5435", (5435,)),
        ("postgresql://chat@/chat?host=a.example.com,b.example.com&port=5435,5436", (5435, 5436)),
        ("postgresql://app:p%40ss%2Fw%23rd%3F@cluster-rw.chat:5432/app\n", (5432,)),
        ("postgresql://chat@db.example.com:many/chat", ()),
        ("postgresql://chat@db.example.com:0/chat", ()),
        ("postgresql://chat@db.example.com:65536/chat", ()),
        ("postgresql://[broken", ()),
        ("host=db.example.com port=5433", ()),
        ("", ()),
    ],
)
def test_ports_of_a_url(text: str, ports: tuple[int, ...]) -> None:
    assert dsn.ports(text) == ports


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mysql://chat:hunter2@hunter2.example.com/hunter2", "begins with postgresql://"),
        ("hunter2", "begins with postgresql://"),
        ("hunter2://hunter2", "begins with postgresql://"),
        ("jdbc:postgresql://hunter2.example.com/hunter2", "begins with postgresql://"),
        ("postgresql://chat:hun@ter2@db.example.com/chat", "%40 for @"),
        ("postgresql://chat:hun/ter2@db.example.com/chat", "percent-encoded"),
        ("postgresql://chat:hun?ter2@db.example.com/chat", "percent-encoded"),
        ("postgresql://chat:hun#ter2@db.example.com/chat", "%23 for #"),
        ("postgresql://chat:hun[ter2@db.example.com/chat", "percent-encoded"),
        ("postgresql://chat:hun ter2@db.example.com/chat", "percent-encoded"),
        ("postgresql://chat:hunter2@db.example.com/chat\npostgresql://other", "line break"),
        ("postgresql://chat:hunter2@db.example.com:hunter2/chat", "write it like postgresql://user"),
        ("postgresql://chat:hunter2@db.example.com:99999/chat", "number from 1 to 65535"),
        ("postgresql:///hunter2", "names no host"),
        ("postgresql://chat:hunter2@/chat", "names no host"),
        ("postgresql://chat:hunter2@db.example.com/chat?sslmode=hunter2", "sslmode must be one of disable"),
        ("postgresql://chat:hunter2@db.example.com/chat?hunter2", "percent-encoded"),
    ],
)
def test_what_chatservers_could_not_use_is_refused_without_being_shown(text: str, words: str) -> None:
    with pytest.raises(dsn.DsnError) as refused:
        dsn.read(text)
    assert words in str(refused.value)
    assert not {"hun", "ter2", "db.example.com"} & set(str(refused.value).replace("/", " ").split())
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://a:1@h/chat", "postgresql://b:2@H:5432/chat?sslmode=require", True),
        ("postgresql://a@h/chat", "postgresql://a@/chat?host=h", True),
        ("postgresql://chat@h", "postgresql://chat@h/chat", True),
        ("postgresql://a@h/chat", "postgresql://a@h/other", False),
        ("postgresql://a@h/chat", "postgresql://a@h:5433/chat", False),
        ("postgresql://a@h/chat", "postgresql://a@h,i/chat", False),
    ],
)
def test_where_a_url_leads_does_not_depend_on_who_asks(one: str, other: str, *, same: bool) -> None:
    read = [dsn.read(text) for text in (one, other)]
    assert (read[0].hosts, read[0].database) == (read[1].hosts, read[1].database) if same else read[0] != read[1]
