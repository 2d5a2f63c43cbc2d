"""Reading the environment: typed values, and errors that name the variable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "CHAT_"


class SettingsError(Exception):
    """A setting is missing or invalid; the text names the variable and the remedy."""


class Reader:
    """Reads variables.

    Args:
        environ: environment of the process.
        defaults: values of variables that are missing or empty, by their names in lower case.
    """

    def __init__(self, environ: Mapping[str, str], defaults: Mapping[str, Any]) -> None:
        self._environ = environ
        self._defaults = defaults

    def optional(self, name: str) -> str | None:
        """Return a text; None if the variable is missing or empty."""
        return self._environ.get(PREFIX + name, "").strip() or None

    def text(self, name: str) -> str:
        """Return a text."""
        return self.optional(name) or str(self._defaults[name.lower()])

    def number(self, name: str, *, least: float, most: float) -> float:
        """Return a number.

        Raises:
            SettingsError: the value is no number, or outside its bounds.
        """
        raw = self.text(name)
        try:
            value = float(raw)
        except ValueError:
            raise SettingsError(f"{PREFIX}{name} must be a number, not {raw!r}") from None
        if not least <= value <= most:
            raise SettingsError(f"{PREFIX}{name} must be from {least:,} to {most:,}, not {raw}")
        return value

    def integer(self, name: str, *, least: int, most: int) -> int:
        """Return a whole number; raises like `number`."""
        value = self.number(name, least=least, most=most)
        if not value.is_integer():
            raise SettingsError(f"{PREFIX}{name} must be a whole number, not {value:g}")
        return int(value)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of the choices.

        Raises:
            SettingsError: the value is none of them.
        """
        value = self.text(name)
        if value not in choices:
            raise SettingsError(f"{PREFIX}{name} must be one of {', '.join(choices)}, not {value!r}")
        return value
