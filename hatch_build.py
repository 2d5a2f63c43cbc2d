"""Build hook of the wheel: compiles the modules that `pyproject.toml` names with mypyc.

It runs only where HATCH_BUILD_HOOK_ENABLE_CUSTOM is `true`, as `images/build/compiled-wheel` sets it, and never for an
editable installation. The sources stay in the wheel beside the compiled modules, which Python prefers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

GROUP = "chatserver"
"""Name of the one shared library, `chatserver__mypyc`: modules of a group call each other without Python's protocol."""

MYPY_OPTIONS = (
    # `make types` checks everything; here the packages are missing that the code uses, and their types are unknown.
    "--config-file=",
    "--ignore-missing-imports",
    "--follow-imports=silent",
)


class CompilingHook(BuildHookInterface):
    """Adds the compiled modules to a wheel, which is then of this Python and platform."""

    _made: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless the wheel is editable.

        Raises:
            SystemExit: mypy finds an error in a module.
            setuptools.errors.CompileError: the C compiler is missing or fails.
        """
        if version == "editable":
            return
        component: str = self.config["component"]
        self._made = Path(tempfile.mkdtemp(prefix="compiled-"))
        for module in compiled(Path(self.root, component), self.config["modules"], self._made):
            # As in the tree: hatchling takes the folder of a component away.
            build_data["force_include"][str(module)] = f"{component}/{module.relative_to(self._made / 'lib')}"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's
        """Remove what is in the wheel now."""
        if self._made is not None:
            shutil.rmtree(self._made)


def compiled(component: Path, modules: list[str], folder: Path) -> list[Path]:
    """Compile modules and return the shared objects, which are below `folder/lib` as below `site-packages`.

    Args:
        component: the folder that contains the package.
        modules: paths below it.
        folder: an empty one, for what is made.
    """
    # Here: this file is loaded for every wheel, and only a compiled one requires these.
    from mypyc.build import mypycify  # noqa: PLC0415
    from setuptools import Distribution  # noqa: PLC0415

    # Relative paths: tracebacks show them, and each build of a commit makes the same bytes.
    with contextlib.chdir(component):
        extensions = mypycify(
            [*MYPY_OPTIONS, f"--cache-dir={os.devnull}", *modules],
            opt_level="3",
            debug_level="0",
            target_dir=str(folder / "c"),
            group_name=GROUP,
        )
        for extension in extensions:
            extension.extra_link_args = ["-Wl,--strip-all"]
        build = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
        build.build_lib, build.build_temp = str(folder / "lib"), str(folder / "o")
        build.ensure_finalized()
        build.run()
    return sorted((folder / "lib").rglob("*.so"))
