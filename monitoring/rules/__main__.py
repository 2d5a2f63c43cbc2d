"""Writes what the chart contains of the rules: `make docs`. A test fails while it is out of date."""

from __future__ import annotations

from pathlib import Path

from monitoring.rules.inhibition import block
from monitoring.rules.rendering import rule_file

FOLDER = Path(__file__).parents[2] / "charts" / "chatcluster-operator" / "monitoring"
RULES = FOLDER / "rules.yaml"
INHIBIT_RULES = FOLDER / "inhibit_rules.yaml"


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    RULES.write_text(rule_file())
    INHIBIT_RULES.write_text(block())


if __name__ == "__main__":
    main()
