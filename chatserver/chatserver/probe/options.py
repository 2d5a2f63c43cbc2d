"""The options of ``chatserver probe``."""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from chatserver.listener import ALL_ADDRESSES

PHONE_NUMBERS = ("+14155550198", "+14155550199")
"""Of the accounts that sign in with a development server's codes: reserved for fiction, nobody has them."""

EVERY_SECONDS = 10.0
EVERY_SECONDS_MIN, EVERY_SECONDS_MAX = 1.0, 3600.0

METRICS_PORT = 9090
PORT_MAX = 65535


def add_probe(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its options."""
    command = commands.add_parser(
        "probe",
        help="send messages through a chat and measure what becomes of them",
        description="Sends a message from one account to another through the whole chat, again and again, and "
        "publishes metrics (chatprobe_*). Needs neither the chat's database nor its keys.",
    )
    command.add_argument("--url", required=True, type=_url, help="the chat, such as https://chat.example.com")
    command.add_argument(
        "--every", type=_seconds, default=EVERY_SECONDS, metavar="SECONDS", help="between messages (default: 10)"
    )
    command.add_argument("--once", action="store_true", help="send one message, print the result, exit with 0 or 1")
    command.add_argument("--metrics-port", type=_port, default=METRICS_PORT, metavar="PORT", help="(default: 9090)")
    command.add_argument(
        "--metrics-host", default=ALL_ADDRESSES, metavar="ADDRESS", help="address of the metrics (default: all)"
    )
    command.add_argument(
        "--token-file", type=Path, metavar="FILE", help="tokens of two accounts, one a line; not for other users (0600)"
    )
    command.add_argument(
        "--phone-numbers",
        nargs=2,
        default=PHONE_NUMBERS,
        metavar="NUMBER",
        help="without a token file: sign in with these, on a chat whose sign-in codes are in the answer (sender Log)",
    )
    trust = command.add_mutually_exclusive_group()
    trust.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="authorities to trust, as PEM (default: public ones)"
    )
    trust.add_argument(
        "--certificate-file", type=Path, metavar="FILE", help="accept the first certificate of this file and no other"
    )
    trust.add_argument(
        "--insecure", action="store_true", help="accept any certificate: whoever answers gets the tokens"
    )


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.username or parts.path.strip("/") or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError("it must be an address without path, such as https://chat.example.com")
    return text.rstrip("/")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"it must be from 0 to {PORT_MAX}; 0 picks a free port")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not EVERY_SECONDS_MIN <= value <= EVERY_SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"it must be from {EVERY_SECONDS_MIN:g} to {EVERY_SECONDS_MAX:g} seconds")
    return value
