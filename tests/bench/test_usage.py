"""What /proc says of processes, also of those that end meanwhile."""

import os
import subprocess
import sys

from bench.usage import cpu_seconds, resident_kib


def test_processor_seconds_are_those_of_living_processes() -> None:
    own = cpu_seconds([os.getpid()])
    assert own > 0
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert cpu_seconds([ended.pid]) == 0
    assert cpu_seconds([os.getpid(), ended.pid]) >= own


def test_memory_is_in_kib() -> None:
    assert 1024 < resident_kib([os.getpid()]) < 16 * 2**20
