"""Log lines of real processes: JSON, and without the values that an error had at hand."""

import json
import subprocess
import sys

_FAIL = """
import logging, structlog
from chatserver.logs import configure_logs

configure_logs("INFO", "one")

def fail(token):
    text = "hidden words"
    raise LookupError("no such thing")

for log in (structlog.get_logger().exception, logging.getLogger("asyncio").exception):
    try:
        fail("hidden " + "token")
    except LookupError:
        log("failed")
"""


def test_an_errors_traceback_is_logged_without_local_variables() -> None:
    lines = subprocess.run(
        [sys.executable, "-c", _FAIL], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        (exception,) = json.loads(line)["exception"]
        assert (exception["exc_type"], exception["exc_value"]) == ("LookupError", "no such thing")
        assert [frame["name"] for frame in exception["frames"]][-1] == "fail"
        assert "hidden words" not in line
        assert "hidden token" not in line
