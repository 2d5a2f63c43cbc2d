"""The fields that clients send, with their bounds: one place for decoders, checks and the published documents.

The decoder rejects numbers and sizes out of bounds. The form of a text is only documented by its type here, and
rejected by checks.py, whose errors explain what to send instead.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec

from chatserver import emojis

MAX_ID: Final = 2**53 - 1
"""The largest id or seq that is given out: the last that JavaScript's numbers and other doubles keep exactly."""

MAX_NUMBER: Final = 2**63 - 1
"""The largest number that a request may have for an id or seq: PostgreSQL's bigint. Nothing has one above MAX_ID."""

LOCAL_ID_BITS: Final = 43
"""Low bits of a chat_id or message_id: its number within a shard. The 10 bits above name the shard, today 0."""

LAST_SHARD: Final = MAX_ID >> LOCAL_ID_BITS
"""The greatest shard that an id can name."""

LAST_SECOND: Final = 253_402_300_799
"""Unix seconds: the last second of the year 9999, the last that a timestamp can hold here."""

TEXT_MAX_CHARS: Final = 65_536
"""Characters of a message's text; what WhatsApp takes."""

USERNAME_MAX_CHARS: Final = 50
"""Characters of a username: the column's width in the source document."""

URL_MAX_CHARS: Final = 2048
"""Characters of a URL: what every browser and proxy takes."""

PHONE_NUMBER_MAX_CHARS: Final = 64
"""Characters of a phone number as it is pasted, with punctuation; a number has at most 15 digits."""

NAME_MAX_CHARS: Final = 100
"""Characters of a group's or a device's name."""

ABOUT_MAX_CHARS: Final = 200
"""Characters of what users say about themselves."""

DESCRIPTION_MAX_CHARS: Final = 2000
"""Characters of a group's description; WhatsApp takes 2,048."""

CURSOR_MAX_CHARS: Final = 6144
"""Characters of a cursor: a snapshot with 1,000 open transactions stays below; a request's headers have 8 KiB."""

CODE_ID_MAX_CHARS: Final = 64
"""Characters of a code_id; today's have 22."""

TIMER_LEAST_SECONDS: Final = 60
"""Seconds of a chat's timer: messages go some seconds later than they are due, so that less would mean little."""

TIMER_MOST_SECONDS: Final = 365 * 86_400
"""A year."""

INVITE_CODE_MAX_CHARS: Final = 64
"""Characters of an invite's code; today's have 32."""

INVITE_SECONDS_LEAST: Final = 60
INVITE_SECONDS_MOST: Final = 365 * 86_400
"""Seconds for which an invite is valid: up to a year."""

INVITE_USES_MAX: Final = 100_000
"""Uses that an invite can have, a hundred times the members of a group: members may leave again."""

GROUP_MEMBERS_MAX: Final = 1024
"""Members of a group, the creator included (the API's limit)."""

LOOKUP_MAX: Final = 500
"""Users of each kind that one look-up names: a usual address book in one call, some 100 kB of answer."""

LOOKUP_TEXT_MAX_CHARS: Final = 256
"""Characters of what a look-up has for a number or a name: more than the entries of address books have."""

# Beside plain numbers whatever is pasted: digits of other scripts, punctuation, invisible characters.
PHONE_NUMBER: Final = re.compile(r"^[^0-9A-Za-z]*(?:[Tt][Ee][Ll]:)?(?:[^0-9A-Za-z]|00)[^A-Za-z\x00]{6,}$")
UUID: Final = re.compile(r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$")
CODE: Final = re.compile(r"^[0-9]{6}$")
PIN: Final = re.compile(r"^[0-9]{6,12}$")

# Each language has other names for "letters of any script", so that the document refuses only ASCII's other characters.
_NO_WORD: Final = r"\x00-,/:-@\[-^`{-\x7f"
_USERNAME_PATTERN: Final = rf"^[^.\-{_NO_WORD}](?:[^{_NO_WORD}]*[^.\-{_NO_WORD}])?$"
_ID_PATTERN: Final = "^[1-9][0-9]{0,18}$"
_NO_NUL: Final = r"^[^\x00]*$"


def text(least: int, most: int, pattern: str | None = None, **more: Any) -> msgspec.Meta:
    """Return what the documents say about a text of `least` to `most` characters."""
    schema = {"minLength": least, "maxLength": most, "pattern": pattern, **more}
    return msgspec.Meta(extra_json_schema={name: value for name, value in schema.items() if value is not None})


# Of requests: a number above MAX_ID is answered as any other that nothing has, not rejected as a wrong type.
Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
# Of answers and pushed frames.
GivenId = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
GivenSeq = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]
TimerSeconds = Annotated[int, msgspec.Meta(ge=TIMER_LEAST_SECONDS, le=TIMER_MOST_SECONDS)]
Timestamp = Annotated[float, msgspec.Meta(ge=0, le=LAST_SECOND)]
# In JSON the keys of an object are texts.
ById = msgspec.Meta(extra_json_schema={"propertyNames": {"pattern": _ID_PATTERN}})

PhoneNumber = Annotated[
    str,
    text(
        7,
        PHONE_NUMBER_MAX_CHARS,
        PHONE_NUMBER.pattern,
        description="With + and the country's calling code, such as +491701234567; punctuation does not count.",
    ),
]
Username = Annotated[
    str,
    text(
        1,
        USERNAME_MAX_CHARS,
        _USERNAME_PATTERN,
        description="Letters and digits of one script, _, . and -; with a letter, and not reserved.",
    ),
]
UserName = Annotated[str, text(1, USERNAME_MAX_CHARS, _NO_NUL)]
Recipient = Annotated[str, text(1, USERNAME_MAX_CHARS, _NO_NUL, description="A username or a phone number.")]
Member = Annotated[
    str,
    text(
        1,
        USERNAME_MAX_CHARS,
        f"{PHONE_NUMBER.pattern}|{_USERNAME_PATTERN}",
        description="A username or a phone number.",
    ),
]
Members = Annotated[list[Member], msgspec.Meta(extra_json_schema={"maxItems": GROUP_MEMBERS_MAX})]
# What is no number or no name is named in the answer of a look-up, and does not fail it.
LookedUpText = Annotated[str, msgspec.Meta(max_length=LOOKUP_TEXT_MAX_CHARS)]
LookedUpTexts = Annotated[list[LookedUpText], msgspec.Meta(max_length=LOOKUP_MAX)]
LookedUpIds = Annotated[list[Id], msgspec.Meta(max_length=LOOKUP_MAX)]
CodeId = Annotated[str, text(1, CODE_ID_MAX_CHARS, description="From the answer of POST /api/auth/code.")]
SignInCode = Annotated[str, text(6, 6, CODE.pattern)]
Pin = Annotated[str, text(6, 12, PIN.pattern, description="Six to twelve digits.")]
Name = Annotated[str, text(1, NAME_MAX_CHARS, r"^[^\x00]*[^\s\x00][^\x00]*$", description="Trimmed.")]
Text = Annotated[str, text(0, TEXT_MAX_CHARS, _NO_NUL)]
About = Annotated[str, text(0, ABOUT_MAX_CHARS, _NO_NUL)]
Description = Annotated[str, text(0, DESCRIPTION_MAX_CHARS, _NO_NUL)]
InviteCode = Annotated[str, text(0, INVITE_CODE_MAX_CHARS, _NO_NUL)]
InviteSeconds = Annotated[int, msgspec.Meta(ge=INVITE_SECONDS_LEAST, le=INVITE_SECONDS_MOST)]
InviteUses = Annotated[int, msgspec.Meta(ge=1, le=INVITE_USES_MAX)]
Url = Annotated[
    str,
    text(
        8,
        URL_MAX_CHARS,
        r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s]+$",
        format="uri",
        description="An absolute http or https URL.",
    ),
]
ClientId = Annotated[str, text(36, 36, UUID.pattern, format="uuid", description="A UUID that the client made.")]
Emoji = Annotated[str, text(1, emojis.MAX_CHARS, r"[^\x00-\x7f]", description="One emoji, in UTF-8.")]
Cursor = Annotated[str, text(0, CURSOR_MAX_CHARS, r"^[A-Za-z0-9._\-]*$")]
