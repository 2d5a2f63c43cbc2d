"""Describes the Python that runs the servers, for reports."""

from __future__ import annotations

import platform
import sysconfig


def built() -> str:
    """Return the compiler of this interpreter, and whether it used profile-guided optimisation.

    A server on an interpreter without it is up to a fifth slower than the images' server, whose Python has it.

    Example:
        "GCC 14.2.0, optimised"
    """
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS"))
    return f"{platform.python_compiler()}, {'' if '--enable-optimizations' in arguments else 'not '}optimised"
