"""The images' tag: it changes exactly when the build context does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from localcluster.images import context_files, source_tag
from localcluster.paths import REPO_ROOT
from localcluster.progress import LocalClusterError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / ".dockerignore").write_text("*\n!app\n!one.toml\n**/__pycache__\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "one.toml").write_text("1")
    (tmp_path / "app" / "__pycache__").mkdir(parents=True)
    (tmp_path / "app" / "a.py").write_text("a")
    return tmp_path


def test_the_tag_follows_content_names_and_modes(tree: Path) -> None:
    tags = [source_tag(tree)]
    (tree / "app" / "a.py").write_text("b")
    tags.append(source_tag(tree))
    (tree / "app" / "a.py").chmod(0o755)
    tags.append(source_tag(tree))
    (tree / "app" / "a.py").rename(tree / "app" / "b.py")
    tags.append(source_tag(tree))
    (tree / "Dockerfile").write_text("FROM scratch AS x\n")
    tags.append(source_tag(tree))
    assert len(set(tags)) == len(tags)


def test_what_docker_does_not_see_does_not_change_the_tag(tree: Path) -> None:
    before = source_tag(tree)
    (tree / "README.md").write_text("x")
    (tree / "app" / "__pycache__" / "a.pyc").write_text("x")
    (tree / "app" / "a.py").touch()
    assert source_tag(tree) == before


@pytest.mark.parametrize("rule", ["!app/*.py", "docs", "!app/[ab]"])
def test_a_pattern_that_cannot_be_followed_is_refused(tree: Path, rule: str) -> None:
    (tree / ".dockerignore").write_text(f"*\n!app\n{rule}\n")
    with pytest.raises(LocalClusterError):
        source_tag(tree)


def test_the_projects_own_context_holds_what_its_dockerfile_copies() -> None:
    files = {str(path.relative_to(REPO_ROOT)) for path in context_files(REPO_ROOT)}
    assert {"Dockerfile", "hatch_build.py", "pyproject.toml", "uv.lock"} <= files
    assert any(name.startswith("chatserver/") for name in files)
    assert not any(name.startswith((".local", ".venv", "tests")) for name in files)


def test_what_builds_and_tests_is_installed_by_hash() -> None:
    for name in ("Dockerfile", "Makefile"):
        installs = [line for line in (REPO_ROOT / name).read_text().splitlines() if "pip install" in line]
        assert installs, name
        # What is installed offline was built here.
        assert [line for line in installs if "--require-hashes" not in line and "--offline" not in line] == []
    assert "--require-build-hashes" in (REPO_ROOT / "images/build/compiled-wheel").read_text()
