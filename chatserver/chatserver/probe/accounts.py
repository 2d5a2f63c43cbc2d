"""How the probe gets its two accounts: tokens from a file, or a sign-in with codes that the server gives."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, Protocol

from chatcluster_client import ChatClientError, Problem, RestClient

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

ACCOUNTS = 2

DEVICE_NAME = "chatserver probe"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,512}")


class NoAccount(Exception):
    """An account cannot be used at the moment, or at all; the text says why and what to do, without its token."""


class TokenSource(Protocol):
    """Where tokens come from."""

    async def open(self, number: int, url: str, tls: ssl.SSLContext) -> RestClient:
        """Return the client of account 0 or 1.

        Raises:
            NoAccount: There is no token.
        """

    def reject(self, number: int) -> None:
        """Take note that the server does not accept the account's token."""


class TokenFile:
    """Tokens from a file with two lines, which is read again for each connection: a rotation replaces it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def open(self, number: int, url: str, tls: ssl.SSLContext) -> RestClient:
        """Return the client of account 0 or 1; raises as of `read`."""
        return RestClient(url, self.read()[number], tls=tls)

    def reject(self, number: int) -> None:
        """Do nothing: the next `open` reads the file again."""

    def read(self) -> tuple[str, str]:
        """Return the two tokens.

        Raises:
            NoAccount: The file cannot be read, is open to all users, or holds something else.
        """
        try:
            mode = self._path.stat().st_mode
            lines = self._path.read_text(encoding="ascii").split()
        except OSError as error:
            raise NoAccount(
                f"the token file {self._path} cannot be read ({error.strerror}); make it readable"
            ) from None
        except UnicodeDecodeError:
            raise NoAccount(self._malformed()) from None
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise NoAccount(f"the token file {self._path} is open to all users; run chmod 600 {self._path}")
        if len(lines) != ACCOUNTS or not all(map(_TOKEN.fullmatch, lines)) or lines[0] == lines[1]:
            raise NoAccount(self._malformed())
        return lines[0], lines[1]

    def _malformed(self) -> str:
        return f"the token file {self._path} must hold the tokens of two accounts, each on a line of its own"


class DevelopmentCodes:
    """TokenSource of two phone numbers on a server with the sender Log, which gives the code in its answer.

    Args:
        phone_numbers: In E.164.

    Raises:
        NoAccount: Both are the same.
    """

    def __init__(self, phone_numbers: tuple[str, str]) -> None:
        if phone_numbers[0] == phone_numbers[1]:
            raise NoAccount("both phone numbers are the same; give the numbers of two accounts")
        self._phone_numbers = phone_numbers
        self._tokens: dict[int, str] = {}

    async def open(self, number: int, url: str, tls: ssl.SSLContext) -> RestClient:
        """Return the client of account 0 or 1, signed in once.

        Raises:
            NoAccount: The server does not answer, refused, or gives no codes in its answer.
        """
        if number not in self._tokens:
            try:
                rest = await RestClient.sign_in(url, self._phone_numbers[number], device_name=DEVICE_NAME, tls=tls)
            except Problem as problem:
                raise NoAccount(_refusal(problem)) from None
            except ChatClientError as error:
                raise NoAccount(f"signing in failed: {error}") from None
            self._tokens[number] = rest.token
            return rest
        return RestClient(url, self._tokens[number], tls=tls)

    def reject(self, number: int) -> None:
        """Sign in again the next time."""
        self._tokens.pop(number, None)


def _refusal(problem: Problem) -> str:
    if problem.code == "code_needed":
        return "the server sends codes to phones; give the tokens of two accounts with --token-file"
    return f"signing in failed: {problem}"
