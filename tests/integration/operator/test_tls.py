"""TLS as clients meet it: sslyze finds nothing against Mozilla's intermediate profile, chain trust apart."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.parts.ingress.tls.self_signed import ensure
from tests.support.certificates import of_a_user
from tests.support.findings import tell
from tests.support.front import NAMES, in_front

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

UNTRUSTED = "certificate_path_validation"
"""No public authority has signed a certificate that a test makes."""


@pytest.mark.parametrize("key", ["ECDSA", "RSA"])
async def test_sslyze_finds_nothing_against_mozillas_intermediate_profile(tmp_path: Path, key: str) -> None:
    made = ensure(None, None, NAMES, dt.datetime.now(dt.UTC)) if key == "ECDSA" else of_a_user()
    async with in_front(tmp_path, made=made) as front:
        scan, words = await _scan(f"localhost:{front.https_port}", tmp_path / "scan.json")
    # It says one line for each thing that it does not like, after the address.
    complaints = [line.strip() for line in words.splitlines() if line.startswith("        * ")]
    assert len(complaints) == 1, words
    assert complaints[0].startswith(f"* {UNTRUSTED}"), words
    accepted = _accepted(scan)
    tell(f"{key}: {accepted}")
    assert {version for version, suites in accepted.items() if suites} == {"tls_1_2", "tls_1_3"}
    assert all("ECDHE" in suite for suite in accepted["tls_1_2"])


async def _scan(address: str, out: Path) -> tuple[dict[str, Any], str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sslyze", "--mozilla_config=intermediate", f"--json_out={out}", address),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    words = printed.decode()
    assert "COMPLIANCE AGAINST TLS CONFIGURATION" in words, words
    (server,) = json.loads(await asyncio.to_thread(out.read_text))["server_scan_results"]
    assert server["scan_status"] == "COMPLETED", words
    return dict(server["scan_result"]), words


def _accepted(scan: dict[str, Any]) -> dict[str, list[str]]:
    """Names of the accepted cipher suites by version."""
    versions = [name.removesuffix("_cipher_suites") for name in scan if name.endswith("_cipher_suites")]
    return {
        version: [
            suite["cipher_suite"]["name"]
            for suite in scan[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"]
        ]
        for version in versions
    }
