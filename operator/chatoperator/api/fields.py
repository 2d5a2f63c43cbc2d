"""What the structs of the spec have in common: their base, the types of single fields, and broken rules. Pure.

Bounds and patterns are those of the CRD, which tests/operator/test_fields.py compares. They hold here as well, because
an object may be older than the CRD that bounds it.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated

from msgspec import Meta, Struct


class Fields(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the spec's structs. Unknown fields are ignored, because a newer CRD may have more of them."""


class RuleBroken(ValueError):
    """A value that its type allows and a rule of its struct does not.

    Attributes:
        field: Path below the struct, such as `limits.cpu`.
        remedy: What to do about it.
    """

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(f"{field}: {remedy}")
        self.field = field
        self.remedy = remedy


def _text(pattern: str, length: int, *, least: int = 1, what: str) -> Meta:
    """Constraints of a string; `what` completes "it must be ...". Lengths are in characters."""
    return Meta(pattern=pattern, min_length=least, max_length=length, description=what)


ObjectName = Annotated[
    str,
    _text(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z", 253, what="the name of an object, such as chat-tls"),
]
"""Of a Secret, a class, an issuer."""

DnsName = Annotated[
    str,
    _text(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z",
        253,
        what="a DNS name in lower case, such as chat.example.com",
    ),
]

KindName = Annotated[str, _text(r"^[A-Z][A-Za-z0-9]*\Z", 63, what="the name of a kind, such as Issuer")]

Image = Annotated[
    str,
    _text(
        r"^[A-Za-z0-9]([A-Za-z0-9._:/@-]*[A-Za-z0-9])?\Z",
        512,
        what="the reference of an image, such as registry.example.com/chat/server:1.2.3",
    ),
]

ImagePrefix = Annotated[
    str,
    _text(
        r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/\Z",
        256,
        least=2,
        what="what goes before the images' names, with its last slash, such as registry.example.com/chat/",
    ),
]

Version = Annotated[str, _text(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", 128, what="a release, such as 0.1.0")]

Network = Annotated[
    str, _text(r"^[0-9a-fA-F:.]+(/[0-9]{1,3})?\Z", 64, least=2, what="an address or a network such as 10.0.0.0/8")
]

Origin = Annotated[
    str, _text(r"^https?://[^/,\s]+\Z", 300, least=8, what="a web origin, such as https://www.example.com")
]

SecretKey = Annotated[str, _text(r"^[-._a-zA-Z0-9]+\Z", 253, what="a key of the Secret, such as uri")]

VariableName = Annotated[
    str, _text(r"^[A-Za-z_][A-Za-z0-9_]*\Z", 128, what="the name of an environment variable, such as CHAT_LOG_LEVEL")
]

VolumeSize = Annotated[
    str, _text(r"^[1-9][0-9]*(Mi|Gi|Ti|Pi|M|G|T|P)\Z", 32, least=2, what="the size of a volume, such as 10Gi")
]

StorageClassName = Annotated[
    str,
    _text(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?\Z", 253, least=0, what="the name of a StorageClass, or empty for none"),
]

LabelValue = Annotated[
    str,
    _text(
        r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?\Z",
        63,
        least=0,
        what="the value of a label: at most 63 letters, digits, '-', '_' and '.'",
    ),
]

Schedule = Annotated[
    str,
    _text(
        r"^[0-9*,/-]+( [0-9*,/-]+){4}\Z",
        128,
        least=9,
        what="five fields of cron in numbers, in UTC, such as 0 1 * * 0 for Sundays at 01:00",
    ),
]
"""Without names of months and days, so that every reader of cron expressions understands the same."""

BucketName = Annotated[
    str,
    _text(
        r"^[a-z0-9]([-a-z0-9._]*[a-z0-9])?\Z",
        222,
        least=3,
        what="the name of a bucket or container, such as chat-backups",
    ),
]

StoreName = Annotated[
    str, _text(r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?\Z", 63, what="a region or an account, such as eu-central-1")
]

StoreEndpoint = Annotated[
    str,
    _text(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?\Z",
        253,
        what="a host name with or without a port, such as s3.eu-central-1.amazonaws.com",
    ),
]

StorePath = Annotated[
    str, _text(r"^(/[A-Za-z0-9._-]+)+\Z", 512, least=2, what="a path that begins with a slash, such as /chats/demo")
]

Moment = Annotated[
    str,
    _text(
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})\Z",
        32,
        least=20,
        what="a time with its zone, such as 2026-11-30T10:15:00Z",
    ),
]

CallingCode = Annotated[
    str, _text(r"^[1-9][0-9]{0,6}\Z", 7, least=0, what="the first digits of phone numbers without the +, such as 49")
]

AnnotationValue = Annotated[str, Meta(max_length=1024)]
"""Of a Service, Ingress or HTTPRoute."""

Count = Annotated[int, Meta(ge=1, le=1_000_000)]

Replicas = Annotated[int, Meta(ge=1, le=100)]
"""A number of chatservers."""


def check_networks(networks: tuple[str, ...], field: str) -> None:
    """Check addresses and networks in CIDR notation.

    Raises:
        RuleBroken: One is neither.
    """
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise RuleBroken(field, f"{network!r} is neither an address nor a network such as 10.0.0.0/8") from None
