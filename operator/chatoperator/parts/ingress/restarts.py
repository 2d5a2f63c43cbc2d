"""What of HAProxy's configuration a running HAProxy restarts for. Pure.

It restarts neither for what it reports, nor for how it refuses, nor for a comment: an upgrade of the operator brings
those to the pods that start from then on.
"""

from __future__ import annotations

import re

from chatoperator.parts.ingress.answers import RETRY_AFTER, RETRY_AFTER_SECONDS
from chatoperator.parts.ingress.telemetry import LIMIT_PAGE, LOG_FORMAT, LOG_FORMAT_OF_0_1_0

_OF_0_1_0 = {
    LOG_FORMAT: LOG_FORMAT_OF_0_1_0,
    LIMIT_PAGE: "",
    RETRY_AFTER: str(RETRY_AFTER_SECONDS),
    "(tls/self_signed.py)": "(certificates.py)",
}
"""Texts, and what release 0.1.0 had in their place."""

_REFUSE_WHEN_FULL = re.compile(r" +http-.* if .*\{ fe_conn gt \d+ \}.*\n")


def without_restart(text: str) -> str:
    """A file of the configuration as far as a running HAProxy restarts for it: as release 0.1.0 has it.

    All of release 0.1.0's texts count, its comments too: their hash is in the template of running pods.
    """
    for now, was in _OF_0_1_0.items():
        text = text.replace(now, was)
    return _REFUSE_WHEN_FULL.sub("", text)
