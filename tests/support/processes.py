"""What a process has used so far."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.usage import cpu_seconds


@dataclass(frozen=True)
class Usage:
    """What a process has used.

    Attributes:
        cpu_seconds: Of processors.
        memory_mib: Resident now.
        peak_mib: Resident at most.
    """

    cpu_seconds: float
    memory_mib: float
    peak_mib: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """What a process has used until now."""
        status = Path(f"/proc/{pid}/status").read_text()
        now, peak = (int(status.split(f"{name}:")[1].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return cls(cpu_seconds([pid]), now, peak)

    def __str__(self) -> str:
        """For people: `12.3 s of a processor, 150 MiB (at most 180 MiB)`."""
        return f"{self.cpu_seconds:.1f} s of a processor, {self.memory_mib:.0f} MiB (at most {self.peak_mib:.0f} MiB)"
