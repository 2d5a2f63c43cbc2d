"""An environment that notes which of its variables were read."""

from collections.abc import Mapping
from typing import Any


class Recorded(dict[str, str]):
    """Variables.

    Attributes:
        read: the names that were asked for, whether they are there or not.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, and note its name."""
        self.read.add(name)
        return super().get(name, default)
