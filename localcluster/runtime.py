"""An OCI runtime: adapts each container to this machine, then hands over to runc.

Docker runs this file as a program (see `engine.py`), with options of its own before runc's arguments:

--drop-sys-resource
    Where root lacks CAP_SYS_RESOURCE, `--privileged` requests a capability from runc that nobody can grant and an
    `oom_score_adj` below the own one; both requests are taken out.
--trust FOLDER
    For build steps only: FOLDER (ca.crt, pip.conf, apt.conf) appears at /dev/build-trust, and environment variables
    point the usual clients at it. /dev is a tmpfs of the build container, so nothing of it, not even a mount point,
    ends in an image.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

TRUST_TARGET = "/dev/build-trust"

_TRUST_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


def without_sys_resource(process: dict[str, Any]) -> dict[str, Any]:
    """A copy of an OCI process that requests neither CAP_SYS_RESOURCE nor an OOM score."""
    capabilities = {
        kind: [name for name in names if name != "CAP_SYS_RESOURCE"]
        for kind, names in (process.get("capabilities") or {}).items()
    }
    kept = {key: value for key, value in process.items() if key not in {"oomScoreAdj", "capabilities"}}
    return {**kept, "capabilities": capabilities} if capabilities else kept


def with_trust(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A copy of an OCI configuration in which the machine's certificates and pip settings are at hand."""
    mount = {"destination": TRUST_TARGET, "source": str(folder), "type": "bind", "options": ["rbind", "ro"]}
    variables = [f"{name}={TRUST_TARGET}/ca.crt" for name in _TRUST_VARIABLES]
    settings = {"PIP_CONFIG_FILE": "pip.conf", "APT_CONFIG": "apt.conf"}
    variables += [f"{name}={TRUST_TARGET}/{file}" for name, file in settings.items() if (folder / file).exists()]
    process = {**config["process"], "env": [*config["process"].get("env", []), *variables]}
    return {**config, "process": process, "mounts": [*config.get("mounts", []), mount]}


def option(arguments: list[str], name: str) -> str | None:
    """The value after `name`, or None."""
    return arguments[arguments.index(name) + 1] if name in arguments else None


def main(arguments: list[str]) -> None:
    """Rewrite the bundle that runc is about to read, then become runc."""
    drop = False
    trust: Path | None = None
    while arguments and arguments[0] in {"--drop-sys-resource", "--trust"}:
        if arguments[0] == "--trust":
            trust = Path(arguments[1])
            arguments = arguments[2:]
        else:
            drop = True
            arguments = arguments[1:]
    if "create" in arguments:
        path = Path(option(arguments, "--bundle") or ".") / "config.json"
        config = json.loads(path.read_text())
        if drop:
            config = {**config, "process": without_sys_resource(config["process"])}
        if trust is not None:
            config = with_trust(config, trust)
        path.write_text(json.dumps(config))
    elif drop and "exec" in arguments and (process := option(arguments, "--process")):
        path = Path(process)
        path.write_text(json.dumps(without_sys_resource(json.loads(path.read_text()))))
    os.execvp("runc", ["runc", *arguments])  # noqa: S606 -- the very point: become runc with its arguments


if __name__ == "__main__":
    main(sys.argv[1:])
