"""``python -m tests.support.spoiled python -m chatserver serve``: the server, whose sends can be made to cost more.

At SIGUSR1 each message that is sent begins to cost as many turns of an empty loop as the file that CHAT_TEST_SPOIL
names says.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

from chatserver.messaging import messages
from chatserver.messaging.validation import check_message


def _spoil(*_: object) -> None:
    turns = int(Path(os.environ["CHAT_TEST_SPOIL"]).read_text())

    def spoiled(*arguments: Any, **named: Any) -> Any:
        for _ in range(turns):
            pass
        return check_message(*arguments, **named)

    messages.check_message = spoiled  # type: ignore[attr-defined] # where the sender looks it up


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _spoil)
    _, _, _, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
