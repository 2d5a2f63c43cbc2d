"""What holds down who asks for sign-in codes and who guesses them: which counters there are, without I/O.

Whoever asks for a code or tries one is counted together with the number and the address, so that a stranger spends
what is their own and not what the number's owner needs. What many addresses together may do to one number is bounded
too; whom the number has signed in from before is not held up by that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chatserver.errors import ValidationFailed
from chatserver.limits.addresses import UNKNOWN, address_subject, site_subject
from chatserver.storage.codes import Counter

CODE_SECONDS: Final = 300
"""Seconds a code is good: time to read a text message, too short to try many."""

CODE_TRIES: Final = 5
"""Tries at one code: with 10^6 codes a guess succeeds once in 200,000 codes."""

RESEND_SECONDS: Final = 30
"""Seconds until an unused code may be followed by another: a text message mostly takes less."""

HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 86_400

SITE_FACTOR: Final = 4
"""An IPv6 /48 may do as much as so many addresses: a company or a mobile network's exit, but not 65,536 customers."""

NUMBER_FACTOR: Final = 4
"""A number is sent codes for so many addresses that use up their own; with 5 an hour these are 20 text messages."""

WRONG_TRIES_PER_DAY: Final = 10
"""Wrong tries at one number from one address in a day: two codes' worth."""

NUMBER_WRONG_TRIES_PER_DAY: Final = 50
"""Wrong tries at one number from all addresses in a day, with code_ids, and as many without: guessing all year finds a
code of one number in 27 years, on average."""

KNOWN_ADDRESSES_MAX: Final = 100
"""The last sign-ins whose addresses are known to be the number's owner's."""


@dataclass(frozen=True, slots=True)
class CodeLimits:
    """How many sign-in codes may be asked for.

    Attributes:
        per_address_per_hour: by one client address, which may send as many wrong ones.
        per_number_per_hour: by one address for one number, while nobody uses them.
        per_hour: by all together.
        calling_codes: what numbers may begin with, after the +; empty: anything.
    """

    per_address_per_hour: int
    per_number_per_hour: int
    per_hour: int
    calling_codes: tuple[str, ...] = ()


def check_calling_code(limits: CodeLimits, number: str) -> None:
    """Check that a number is from where people may sign in.

    Raises:
        ValidationFailed: it is not.
    """
    if limits.calling_codes and not number.startswith(tuple(f"+{code}" for code in limits.calling_codes)):
        raise ValidationFailed.of("phone_number", "numbers with this calling code cannot sign in here")


def resend_wait_seconds(unused: int, age_seconds: float) -> float:
    """Return how long to wait until an address may ask for another code for a number; 0 or less: it may now.

    The waits double from RESEND_SECONDS with each code that is not used, up to the life of a code: one that is older
    holds nothing up.

    Args:
        unused: codes in a row that were asked for and not used, while the last one is still good.
        age_seconds: since the last of them.

    Example:
        >>> [resend_wait_seconds(unused, 10) for unused in (0, 1, 2, 3, 9)]
        [0, 20, 50, 110, 290]
    """
    if unused <= 0:
        return 0
    return min(RESEND_SECONDS * 2.0 ** (unused - 1), CODE_SECONDS) - age_seconds


def request_counters(limits: CodeLimits, number: str, address: str) -> list[Counter]:
    """Return what a request for a code counts for."""
    site = site_subject(address)
    return [
        Counter(number, site, "codes", limits.per_number_per_hour, HOUR_SECONDS),
        Counter(number, "", "codes", limits.per_number_per_hour * NUMBER_FACTOR, HOUR_SECONDS),
        *_of_address(address, "codes", limits.per_address_per_hour),
        Counter("", "", "codes", limits.per_hour, HOUR_SECONDS),
    ]


def try_counters(limits: CodeLimits, number: str, address: str, *, with_secret: bool) -> list[Counter]:
    """Return what a wrong try counts for.

    Tries without a code_id are counted by themselves: who shares the address with the owner can make them, and not
    those with the owner's code_id.
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
    """Return what a sign-in clears: where the code was asked for (its `address_subject`), and where it is used."""
    return site_subject(requester.partition("/")[0]), site_subject(address)


def is_number_wide(counter: Counter) -> bool:
    """Return whether a counter holds up all who ask for one number, wherever they are."""
    return bool(counter.phone_number) and not counter.address


def is_known(address: str, known: list[str]) -> bool:
    """Return whether an address is one that the number has signed in from."""
    site = site_subject(address)
    return site != UNKNOWN and site in {site_subject(other) for other in known}
