"""Limits of requests for sign-in codes and of guesses: which counters there are, without I/O.

Requests and tries are counted by phone number and address together, so that a stranger uses up their own allowance and
not that of the number's owner. All addresses together have a limit per number too; it does not apply to addresses from
which the number has signed in before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chatserver.errors import ValidationFailed
from chatserver.limits.addresses import UNKNOWN, address_subject, site_subject
from chatserver.storage.codes import Counter
from chatserver.times import DAY_SECONDS

CODE_SECONDS: Final = 300
"""Seconds that a code is valid: long enough to read a text message, too short for many tries."""

CODE_TRIES: Final = 5
"""Tries per code: with 10^6 codes a guess succeeds once in 200,000 codes."""

RESEND_SECONDS: Final = 30
"""Seconds until another code can be requested while one is unused: most text messages arrive faster."""

HOUR_SECONDS: Final = 3600

SITE_FACTOR: Final = 4
"""The limit of an IPv6 /48, in addresses: enough for a company or a mobile network, not for 65,536 customers."""

NUMBER_FACTOR: Final = 4
"""The limit per number, in limits of one address; with 5 codes an hour per address these are 20 text messages."""

WRONG_TRIES_PER_DAY: Final = 10
"""Wrong tries per day at one number from one address: two codes' worth."""

NUMBER_WRONG_TRIES_PER_DAY: Final = 50
"""Wrong tries per day at one number from all addresses with code_ids, and as many without: continuous guessing finds a
code of one number once in 27 years, on average."""

KNOWN_ADDRESSES_MAX: Final = 100
"""How many of the last sign-ins' addresses count as those of the number's owner."""


@dataclass(frozen=True, slots=True)
class CodeLimits:
    """How many sign-in codes may be requested.

    Attributes:
        per_address_per_hour: by one client address, which may also try so many wrong codes.
        per_number_per_hour: by one address for one number, as long as none is used.
        per_hour: by all addresses together.
        calling_codes: calling codes, without the +, with which numbers may begin; empty: all.
    """

    per_address_per_hour: int
    per_number_per_hour: int
    per_hour: int
    calling_codes: tuple[str, ...] = ()


def check_calling_code(limits: CodeLimits, number: str) -> None:
    """Check that numbers with this calling code may sign in.

    Raises:
        ValidationFailed: they may not.
    """
    if limits.calling_codes and not number.startswith(tuple(f"+{code}" for code in limits.calling_codes)):
        raise ValidationFailed.of("phone_number", "numbers with this calling code cannot sign in here")


def resend_wait_seconds(unused: int, age_seconds: float) -> float:
    """Return the wait until an address may request another code for a number; 0 or less: none.

    The waits begin with RESEND_SECONDS and double with each unused code, up to CODE_SECONDS; expired codes cause none.

    Args:
        unused: consecutive codes that were requested and not used, while the last one is still valid.
        age_seconds: the age of the last of them.

    Example:
        >>> [resend_wait_seconds(unused, 10) for unused in (0, 1, 2, 3, 9)]
        [0, 20, 50, 110, 290]
    """
    if unused <= 0:
        return 0
    return min(RESEND_SECONDS * 2.0 ** (unused - 1), CODE_SECONDS) - age_seconds


def request_counters(limits: CodeLimits, number: str, address: str) -> list[Counter]:
    """Return the counters that a request for a code increments."""
    site = site_subject(address)
    return [
        Counter(number, site, "codes", limits.per_number_per_hour, HOUR_SECONDS),
        Counter(number, "", "codes", limits.per_number_per_hour * NUMBER_FACTOR, HOUR_SECONDS),
        *_of_address(address, "codes", limits.per_address_per_hour),
        Counter("", "", "codes", limits.per_hour, HOUR_SECONDS),
    ]


def try_counters(limits: CodeLimits, number: str, address: str, *, with_secret: bool) -> list[Counter]:
    """Return the counters that a wrong try increments.

    Tries without a code_id are counted separately: somebody who shares the address with the owner can make them, but
    not tries with the owner's code_id.
    """
    kind = "wrong" if with_secret else "wrong_by_address"
    return [
        Counter(number, site_subject(address), kind, WRONG_TRIES_PER_DAY, DAY_SECONDS),
        Counter(number, "", kind, NUMBER_WRONG_TRIES_PER_DAY, DAY_SECONDS),
        *_of_address(address, kind, limits.per_address_per_hour),
    ]


def _of_address(address: str, kind: str, limit: int) -> list[Counter]:
    subject, site = address_subject(address), site_subject(address)
    counters = [Counter("", subject, kind, limit, HOUR_SECONDS)]
    if site != subject:
        counters.append(Counter("", site, kind, limit * SITE_FACTOR, HOUR_SECONDS))
    return counters


def sites_of(requester: str, address: str) -> tuple[str, ...]:
    """Return the sites whose counters a sign-in clears: where the code was requested (`address_subject`) and used."""
    return site_subject(requester.partition("/")[0]), site_subject(address)


def is_number_wide(counter: Counter) -> bool:
    """Return whether a counter limits all requests for one number, from any address."""
    return bool(counter.phone_number) and not counter.address


def is_known(address: str, known: list[str]) -> bool:
    """Return whether the number has signed in from this address before."""
    site = site_subject(address)
    return site != UNKNOWN and site in {site_subject(other) for other in known}
