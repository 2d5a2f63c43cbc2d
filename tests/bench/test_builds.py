"""Environments of chatservers are made once, and those that nobody uses are removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bench import builds
from bench.plan import Plan
from bench.sizes import Sizes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_an_environment_is_made_once() -> None:
    made: list[Path] = []
    pythons = {builds._installed("one", made.append) for _ in range(2)}
    assert len(made) == 1
    assert pythons == {str(made[0] / "venv" / "bin" / "python")}


def test_one_that_cannot_be_made_is_tried_again_and_leaves_nothing() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no C compiler")

    with pytest.raises(builds.NotBuiltError, match="no C compiler"):
        builds._installed("one", fail)
    made: list[Path] = []
    builds._installed("one", made.append)
    assert list(made[0].iterdir()) == [made[0] / "complete"]


def test_what_was_not_used_for_long_and_what_was_interrupted_is_removed(tmp_path: Path) -> None:
    for name, used in {"recent": 1000, "stale": 10}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "complete").touch()
        os.utime(tmp_path / name / "complete", (used, used))
    (tmp_path / "interrupted").mkdir()
    (tmp_path / "lock").touch()
    builds.remove_stale(tmp_path, 500)
    assert {path.name for path in tmp_path.iterdir()} == {"recent", "lock"}


def test_a_changed_file_or_another_interpreter_is_another_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(builds, "ROOT", tmp_path)
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "a.py").write_text("1")
    before = builds._digest("server")
    assert builds._digest("server") == before
    (tmp_path / "server" / "a.py").write_text("2")
    changed = builds._digest("server")
    monkeypatch.setattr("sys.base_prefix", "/another")
    assert len({before, changed, builds._digest("server")}) == 3


def test_without_a_compiler_the_checkout_is_measured_and_the_report_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> builds.Build:
        raise builds.NotBuiltError("no C compiler")

    monkeypatch.setattr(builds, "compiled", fail)
    plan = Plan(Sizes(), peers=False, only=())
    assert plan._build() == builds.HERE
    assert plan._skipped == {"the compiled chatserver": "no C compiler"}
