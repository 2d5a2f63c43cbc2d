"""What this machine can do, and how containers are adapted to it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

from localcluster import runtime
from localcluster.bootstrap import apt_settings, sources
from localcluster.cgroups import folders, is_version_2
from localcluster.engineinit import dockerd_arguments
from localcluster.host import lacks_sys_resource

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_missing_capability_is_seen_in_the_bounding_set() -> None:
    assert lacks_sys_resource("Name:\tx\nCapBnd:\t000001fffeffffff\n")
    assert not lacks_sys_resource("Name:\tx\nCapBnd:\t000001ffffffffff\n")


def test_only_the_missing_capability_is_taken_out() -> None:
    process = {"args": ["x"], "oomScoreAdj": -998, "capabilities": {"bounding": ["CAP_SYS_RESOURCE", "CAP_KILL"]}}
    assert runtime.without_sys_resource(process) == {"args": ["x"], "capabilities": {"bounding": ["CAP_KILL"]}}
    assert process["oomScoreAdj"] == -998


def test_build_steps_see_the_machines_certificates_and_images_do_not(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").touch()
    (tmp_path / "apt.conf").touch()
    config = runtime.with_trust({"process": {"env": ["A=b"]}, "mounts": []}, tmp_path)
    assert "SSL_CERT_FILE=/dev/build-trust/ca.crt" in config["process"]["env"]
    assert "APT_CONFIG=/dev/build-trust/apt.conf" in config["process"]["env"]
    assert not any(entry.startswith("PIP_CONFIG_FILE") for entry in config["process"]["env"])
    # Below /dev, which is a tmpfs: no mount point stays in a layer.
    assert config["mounts"] == [
        {"destination": "/dev/build-trust", "source": str(tmp_path), "type": "bind", "options": ["rbind", "ro"]}
    ]


def test_the_runtime_rewrites_the_bundle_and_becomes_runc(tmp_path: Path) -> None:
    """The program as Docker calls it; `runc` is one that prints its arguments."""
    (tmp_path / "runc").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "runc").chmod((tmp_path / "runc").stat().st_mode | stat.S_IXUSR)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps({"process": {"oomScoreAdj": 1, "args": []}}))
    done = subprocess.run(
        [sys.executable, "-I", runtime.__file__, "--drop-sys-resource", "create", "--bundle", str(bundle), "id"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"create --bundle {bundle} id\n"
    assert json.loads((bundle / "config.json").read_text()) == {"process": {"args": []}}


def test_only_the_way_to_the_mirrors_is_taken_from_the_machines_apt() -> None:
    dump = """\
Acquire::http::Proxy "http://proxy:3128";
Acquire::cdrom "";
Acquire::IndexTargets::deb::DEP-11::MetaKey "x";
Acquire::Check-Valid-Until "false";
APT::Install-Recommends "1";
"""
    assert apt_settings(dump).splitlines() == [
        'Acquire::http::Proxy "http://proxy:3128";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Languages "none";',
    ]


def test_the_base_image_gets_security_updates() -> None:
    assert "deb http://m/debian-security trixie-security main" in sources("trixie", "http://m/debian/")


def test_a_build_engine_touches_neither_links_nor_firewall_nor_forwarding(tmp_path: Path) -> None:
    arguments = dockerd_arguments(tmp_path, "x", build=True)
    assert {"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"} <= set(arguments)
    assert "--bridge=none" not in dockerd_arguments(tmp_path, "x", build=False)


def test_cgroups_are_found_in_every_hierarchy(tmp_path: Path) -> None:
    for folder in ("cpu/mine/child", "memory/mine", "memory/other"):
        (tmp_path / folder).mkdir(parents=True)
    assert sorted(folders("mine", tmp_path)) == [tmp_path / "cpu" / "mine", tmp_path / "memory" / "mine"]
    assert not is_version_2(tmp_path)
    (tmp_path / "cgroup.controllers").touch()
    assert is_version_2(tmp_path)


def test_a_folder_without_certificates_gives_no_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from localcluster import host  # noqa: PLC0415 -- patched here

    monkeypatch.setattr(host, "_CA_BUNDLES", ())
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert host.trust_folder(tmp_path / "trust") is None
