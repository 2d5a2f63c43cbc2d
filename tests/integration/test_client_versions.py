"""The Python client works with the oldest libraries that its ranges allow, and with the newest."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 240

pytestmark = pytest.mark.integration

TOOLS = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout")


@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"])
def test_the_client_passes_its_tests_with(resolution: str) -> None:
    environment = {**os.environ, "UV_RESOLUTION": resolution, "PYTHONPATH": str(ROOT)}
    environment.pop("VIRTUAL_ENV", None)
    run = subprocess.run(
        [
            *[os.environ.get("UV", "uv"), "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable],
            *["--with", str(ROOT / "clients" / "python"), *(f"--with={tool}=={version(tool)}" for tool in TOOLS)],
            *[
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "tests/client",
                "--deselect",
                "tests/client/test_former_name.py",
            ],
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
