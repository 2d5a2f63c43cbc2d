"""Figures that a run should leave in its output, whatever pytest captures: ledgers, times, refusals' words."""

_findings: list[str] = []


def tell(text: object) -> None:
    """Have a line (or several) printed at the end of the run."""
    _findings.append(str(text))


def told() -> list[str]:
    """All lines so far."""
    return list(_findings)
