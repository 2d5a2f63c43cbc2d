"""The modules that are compiled: those that are named, where it was asked for, and nowhere else."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
import tomllib
from pathlib import Path
from typing import get_type_hints, is_typeddict

import msgspec
import picows
import pytest

from chatserver.app import is_compiled

ROOT = Path(__file__).parent.parent.parent

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOOK = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
MODULES: list[str] = HOOK["modules"]
EXPECTED = os.environ.get("CHAT_COMPILED") == "true"
"""Set by `make check-compiled`."""


@pytest.mark.parametrize("path", MODULES)
def test_a_module_is_compiled_where_it_should_be_and_interpreted_elsewhere(path: str) -> None:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert Path(str(module.__file__)).suffix == (".so" if EXPECTED else ".py")
    assert is_compiled() == EXPECTED


@pytest.mark.parametrize("path", MODULES)
def test_no_class_is_compiled_that_another_library_must_see_interpreted(path: str) -> None:
    """msgspec reads annotations, which mypyc does not keep; a base class in Cython made the server crash."""
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    own = [each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__]
    assert [each for each in own if issubclass(each, (msgspec.Struct, picows.WSListener)) or is_typeddict(each)] == []


@pytest.mark.parametrize("path", MODULES)
def test_the_types_of_dataclasses_and_named_tuples_are_there_at_run_time(path: str) -> None:
    """The compiled module evaluates them when it is imported."""
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    own = [each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__]
    for each in own:
        if dataclasses.is_dataclass(each) or issubclass(each, tuple):
            get_type_hints(each)


def test_each_test_of_a_compiled_module_runs_on_it() -> None:
    names = [path.removesuffix(".py").replace("/", ".").rpartition(".") for path in MODULES]
    imports = "|".join(rf"{package}\.{name}\b|from {package} import .*\b{name}\b" for package, _, name in names)
    files = Path(__file__).parent.glob("test_*.py")
    expected = {path.stem.removeprefix("test_") for path in files if re.search(imports, path.read_text())}
    found = re.search(r"^COMPILED_UNIT = (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    assert set(found[1].split()) == expected | {"compiled"}, "COMPILED_UNIT in the Makefile lists other files"


def test_the_compiler_is_the_mypy_that_checks_the_types() -> None:
    [checks] = [each for each in PROJECT["dependency-groups"]["dev"] if each.startswith("mypy==")]
    version = checks.removeprefix("mypy==")
    assert HOOK["dependencies"] == [f"mypy[mypyc]=={version}"]
    pinned = re.findall(r"^([a-z-]+)==([0-9.]+)", (ROOT / "images/build/compile.txt").read_text(), re.MULTILINE)
    [hatchling] = PROJECT["build-system"]["requires"]
    assert {("mypy", version), tuple(hatchling.split("=="))} <= set(pinned)


def test_an_installation_compiles_only_where_it_is_asked_to() -> None:
    assert HOOK["enable-by-default"] is False
