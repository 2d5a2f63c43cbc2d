"""A release is made from a clean tree of one version; its bills of materials name what is in it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tomllib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from localcluster.paths import REPO_ROOT
from localcluster.progress import LocalClusterError
from release import artifacts, sbom, source

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)

LISTING = """\
deb haproxy 3.0.11-1+deb13u1 amd64
deb zlib1g 1:1.3.dfsg+really1.3.1-1+b1 amd64
pypi Sanic
= 25.12.1
pypi typing_extensions
= 4.15.0
"""


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small tree that agrees with its version, committed."""
    chart = tmp_path / source.CHART
    chart.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.3"\n')
    (chart / "Chart.yaml").write_text("version: 1.2.3\nappVersion: 1.2.3\n")
    (tmp_path / source.CLIENT).mkdir(parents=True)
    (tmp_path / source.CLIENT / "pyproject.toml").write_text('[project]\nname = "y"\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3] - 2026-11-29\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "x")
    return tmp_path


def test_this_tree_agrees_with_its_version() -> None:
    assert source.disagreements(REPO_ROOT) == []
    readme = (REPO_ROOT / "README.md").read_text()
    assert set(re.findall(r"chatcluster-\$part:(\S+)", readme)) == {source.version_of(REPO_ROOT)}


def test_a_tree_that_agrees_is_released(checkout: Path) -> None:
    assert source.disagreements(checkout) == []
    commit, seconds = source.commit_of(checkout)
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert seconds > 0


def test_each_place_with_another_version_is_named(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.3.0"\n')
    found = source.disagreements(checkout)
    assert [sentence.split(" has ")[0].rsplit("/", 1)[-1] for sentence in found] == [
        "Chart.yaml",
        "Chart.yaml",
        "pyproject.toml",
        "CHANGELOG.md",
    ]
    assert all("1.3.0" in sentence for sentence in found)


def test_a_tree_with_changes_is_no_release(checkout: Path) -> None:
    (checkout / "new.py").touch()
    with pytest.raises(LocalClusterError, match=r"not committed: new\.py"):
        source.commit_of(checkout)


def test_a_folder_without_git_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match="is no Git checkout"):
        source.commit_of(tmp_path)


def test_the_packages_of_an_image_are_read_from_its_databases() -> None:
    assert [str(package.url) for package in sbom.parse(LISTING)] == [
        "pkg:deb/debian/haproxy@3.0.11-1%2Bdeb13u1?arch=amd64",
        "pkg:deb/debian/zlib1g@1:1.3.dfsg%2Breally1.3.1-1%2Bb1?arch=amd64",
        "pkg:pypi/sanic@25.12.1",
        "pkg:pypi/typing-extensions@4.15.0",
    ]
    with pytest.raises(ValueError, match="no package: 'sh: dpkg-query: not found'"):
        sbom.parse("sh: dpkg-query: not found")


def test_the_command_lists_what_is_installed(tmp_path: Path) -> None:
    """The Python half, which `find /` reads, on a folder instead of a whole image."""
    for name in ("a_b", "c"):
        metadata = tmp_path / f"{name}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n\nName: not this\n")
    command = sbom.LIST_PACKAGES.partition("; ")[2].replace("find / ", f"find {tmp_path} ")
    listing = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert [(package.name, package.version) for package in sbom.parse(listing)] == [("a_b", "1.0"), ("c", "1.0")]


def test_the_bill_of_an_image_names_its_packages() -> None:
    bill = json.loads(sbom.of_image("chatcluster-haproxy", "0.1.0", sbom.parse(LISTING), AT))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["timestamp"] == AT.isoformat()
    assert bill["metadata"]["component"]["name"] == "chatcluster-haproxy"
    assert bill["metadata"]["component"]["type"] == "container"
    assert {component["name"] for component in bill["components"]} == {
        *("haproxy", "zlib1g", "Sanic", "typing_extensions")
    }


def test_the_bill_of_the_chart_names_its_images() -> None:
    bill = json.loads(sbom.of_chart("chatcluster-operator", "0.1.0", ["chatcluster-haproxy"], AT))
    assert [(part["name"], part["version"], part["type"]) for part in bill["components"]] == [
        ("chatcluster-haproxy", "0.1.0", "container")
    ]


def test_the_bill_of_the_client_has_the_client_as_its_root_and_only_what_it_depends_on() -> None:
    def component(name: str) -> dict[str, str]:
        return {"name": name, "bom-ref": f"{name}@1", "type": "library"}

    exported = {
        "metadata": {"timestamp": AT.isoformat(), "component": component("chatcluster")},
        "components": [component(name) for name in ("chatcluster-client", "h11", "httpx", "sanic")],
        "dependencies": [
            {"ref": "chatcluster@1", "dependsOn": ["chatcluster-client@1", "sanic@1"]},
            {"ref": "chatcluster-client@1", "dependsOn": ["httpx@1"]},
            {"ref": "httpx@1", "dependsOn": ["h11@1"]},
            {"ref": "h11@1"},
            {"ref": "sanic@1"},
        ],
    }
    bill = json.loads(sbom.rooted_at(json.dumps(exported), artifacts.CLIENT_PACKAGE))
    assert bill["metadata"] == {"timestamp": AT.isoformat(), "component": component("chatcluster-client")}
    assert [part["name"] for part in bill["components"]] == ["h11", "httpx"]
    assert [entry["ref"] for entry in bill["dependencies"]] == ["chatcluster-client@1", "httpx@1", "h11@1"]
    with pytest.raises(ValueError, match="no component 'x' in the bill of chatcluster"):
        sbom.rooted_at(json.dumps(exported), "x")


def test_the_client_is_named_as_its_package_is() -> None:
    project = tomllib.loads((REPO_ROOT / source.CLIENT / "pyproject.toml").read_text())["project"]
    assert project["name"] == artifacts.CLIENT_PACKAGE


def test_checksums_are_what_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"wheel")
    artifacts.write_sums(tmp_path)
    assert (tmp_path / artifacts.SUMS).read_text() == f"{hashlib.sha256(b'wheel').hexdigest()}  a.whl\n"
    subprocess.run(["sha256sum", "--check", "--strict", artifacts.SUMS], cwd=tmp_path, check=True, capture_output=True)


def test_each_changelog_fragment_is_for_somebody() -> None:
    audiences = r"\+[a-z0-9-]+\.(admins|clients|sres|upgrade)\.md"
    names = [path.name for path in (REPO_ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    assert [name for name in names if not re.fullmatch(audiences, name)] == []
    drafted = subprocess.run(
        ["towncrier", "build", "--draft", "--version", "9.9.9"],
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert drafted.stdout.count("\n- ") == len(names)
