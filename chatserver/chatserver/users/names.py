"""Rules for names: usernames by PRECIS (RFC 8265) and UTS #39, names of groups and devices by PRECIS. Pure.

The only importer of precis_i18n. Every check takes at most some milliseconds for any input.
"""

from __future__ import annotations

import unicodedata
from typing import Final

import regex
from precis_i18n import get_profile

from chatserver import bounds, emojis
from chatserver.checks import check_text
from chatserver.errors import ValidationFailed
from chatserver.users.lookalikes import is_single_script, look

_USERNAME: Final = get_profile("UsernameCasePreserved")
# Not Nickname (RFC 8266): it turns a trade mark sign into "TM", and a circled one into "1".
_FREEFORM: Final = get_profile("OpaqueString")

DECOMPOSED: Final = 4
"""Most code points that compose to one character: longer texts are rejected before they are composed."""

_FORM: Final = regex.compile(r"[\p{L}\p{N}_](?:[\p{L}\p{M}\p{N}_.\-\u200c\u200d]*[\p{L}\p{M}\p{N}_])?")
_ONCE_TAKEN: Final = regex.compile(r"(?![.\-])[\p{L}\p{M}\p{N}\p{Pc}.\-\u200c\u200d]+(?<![.\-])")
_LETTER: Final = regex.compile(r"\p{L}")
_PILE_OF_MARKS: Final = regex.compile(r"[\p{Mn}\p{Me}]{5}")
# Two symbols are blank: the Braille pattern without dots, and a musical note without a head.
_VISIBLE: Final = regex.compile(r"[[\p{L}\p{N}\p{P}\p{S}]--[\u2800\U0001d159]]", regex.VERSION1)
_ORNAMENT: Final = regex.compile(r"[^\p{L}\p{N}]")
_SPACES: Final = regex.compile(r"\p{Zs}+")
# Visible, yet rejected by PRECIS, whose rules are for identifiers: separators that it allows only between certain
# letters, the lengthening strokes of Arabic and N'Ko, Japanese repetition marks, and old Hangul.
_OF_TITLES: Final = regex.compile(
    r"[\u00b7\u0375\u05f3\u05f4\u0640\u07fa\u3031-\u3035\u303b\u30fb"
    r"[\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7c6\ud7cb-\ud7fb--\u115f\u1160]]",
    regex.VERSION1,
)

USERNAME_FORM: Final = (
    f"must have 1 to {bounds.USERNAME_MAX_CHARS} letters, digits, '_', '.' or '-', a letter among them, "
    "and begin and end with a letter, digit or '_'"
)
ONE_SCRIPT: Final = "mixes letters or digits of several scripts, so that it can look like another name: use one script"
RESERVED_NAME: Final = "is reserved, because it can be mistaken for the service or its staff: choose another one"

RESERVED: Final = """
    abuse admin administrator all announcement announcements anonymous api bot channel chat chatcluster chatserver
    contact deleted deleteduser everyone false group guest help helpdesk here hostmaster info mailerdaemon me mod
    moderator nan news nil nobody none noreply notification notifications null official operator owner postmaster
    privacy root security self server service staff status superuser support sysadmin system true undefined
    unknown user username webmaster you
"""
# Names of roles (RFC 2142) and of the service, and values that programs misread.


def _plain_look(name: str) -> str:
    """Return a name's skeleton without '_', '.', '-', accents, strokes through letters and apostrophes."""
    bare = _ORNAMENT.sub("", unicodedata.normalize("NFD", name))
    # Again: only the skeleton separates the stroke of a letter such as đ, and shows an apostrophe that is a letter.
    return _ORNAMENT.sub("", look(bare))


_RESERVED_LOOKS: Final = frozenset(
    _plain_look(form) for name in RESERVED.split() for form in (name, name.upper(), name.title())
)


def check_username(text: str, path: str) -> str:
    """Return a new username in its stored form: composed, and of usual width.

    Raises:
        ValidationFailed: it is malformed, has several scripts, or is reserved; `path` names the field.
    """
    if not 0 < len(text) <= bounds.USERNAME_MAX_CHARS * DECOMPOSED:
        raise ValidationFailed.of(path, USERNAME_FORM)
    try:
        username = str(_USERNAME.enforce(text))
    except UnicodeEncodeError as error:
        raise ValidationFailed.of(path, f"{USERNAME_FORM}{_culprit(error)}") from error
    formed = len(username) <= bounds.USERNAME_MAX_CHARS and _FORM.fullmatch(username) and _LETTER.search(username)
    if not formed or _PILE_OF_MARKS.search(username):
        raise ValidationFailed.of(path, USERNAME_FORM)
    if not is_single_script(username):
        raise ValidationFailed.of(path, ONE_SCRIPT)
    if _plain_look(username) in _RESERVED_LOOKS:
        raise ValidationFailed.of(path, RESERVED_NAME)
    return username


def check_addressee(text: str, path: str) -> str:
    """Return a text that identifies a user by username or number; its length is that of the composed form.

    Raises:
        ValidationFailed: it is too long, or cannot be stored.
    """
    decomposed = bounds.USERNAME_MAX_CHARS < len(text) <= bounds.USERNAME_MAX_CHARS * DECOMPOSED
    check_text(unicodedata.normalize("NFC", text) if decomposed else text, path, max_chars=bounds.USERNAME_MAX_CHARS)
    return text


def check_known_username(text: str, path: str) -> str:
    """Return a text that can be an existing username, by these rules or by those of earlier releases.

    Raises:
        ValidationFailed: no release has accepted such a username.
    """
    if len(text) > bounds.USERNAME_MAX_CHARS * DECOMPOSED:
        raise ValidationFailed.of(path, USERNAME_FORM)
    composed = unicodedata.normalize("NFC", text)
    if len(composed) > bounds.USERNAME_MAX_CHARS or not _ONCE_TAKEN.fullmatch(composed):
        raise ValidationFailed.of(path, USERNAME_FORM)
    return text


def username_key(username: str) -> str:
    """Return the key of a username: usernames with the same key are the same, such as ``Ada`` and ``ADA``.

    Computed here and not by PostgreSQL's lower(), whose result depends on the locale of the cluster.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold())


def check_name(text: str, path: str, *, max_chars: int = bounds.NAME_MAX_CHARS) -> str:
    """Return a group's or device's name: composed, trimmed, and with single spaces.

    Raises:
        ValidationFailed: nothing visible, too long, or with characters that are invisible or reverse the text.
    """
    check_text(text, path, max_chars=max_chars * DECOMPOSED)
    name = _SPACES.sub(" ", unicodedata.normalize("NFC", text.strip()))
    check_text(name, path, max_chars=max_chars)
    # Emoji contain joiners and selectors, which PRECIS rejects as invisible characters.
    rest = "".join(cluster for cluster in regex.findall(r"\X", name) if emojis.find(cluster) is None)
    checked = _OF_TITLES.sub("", rest)
    try:
        if checked:
            _FREEFORM.enforce(checked)
    except UnicodeEncodeError as error:
        raise ValidationFailed.of(
            path, f"must contain only letters, digits, signs, emoji and spaces{_culprit(error)}"
        ) from error
    if not _VISIBLE.search(rest) and len(rest) == len(name):
        raise ValidationFailed.of(path, "must not be empty or invisible")
    if _PILE_OF_MARKS.search(rest):
        raise ValidationFailed.of(path, "must not have more than four marks on one letter")
    return name


def _culprit(error: UnicodeEncodeError) -> str:
    """Return the text that names the character that PRECIS rejects, if it is a single one."""
    if error.end - error.start != 1 or len(error.object) == 0:
        return ""
    return f"; not U+{ord(error.object[error.start]):04X}"
