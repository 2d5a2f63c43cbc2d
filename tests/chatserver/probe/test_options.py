"""The options of `chatserver probe`, and the errors that name their remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chatserver.__main__ import main
from chatserver.probe.accounts import NoAccount, TokenFile

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = ("a" * 43, "b" * 43)


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "tokens"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("text", [f"{TOKENS[0]}\n{TOKENS[1]}\n", f"{TOKENS[0]}\n{TOKENS[1]}", " ".join(TOKENS)])
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440])
def test_a_file_with_two_tokens_is_read(tmp_path: Path, text: str, mode: int) -> None:
    assert TokenFile(written(tmp_path, text, mode)).read() == TOKENS


@pytest.mark.parametrize(
    ("text", "mode", "remedy"),
    [
        pytest.param("", 0o600, "two accounts", id="empty"),
        pytest.param(f"{TOKENS[0]}\n", 0o600, "two accounts", id="one"),
        pytest.param("\n".join([*TOKENS, "c" * 43]), 0o600, "two accounts", id="three"),
        pytest.param(f"{TOKENS[0]}\n{TOKENS[0]}", 0o600, "two accounts", id="the same twice"),
        pytest.param(f"{TOKENS[0]}\nBearer:{TOKENS[1]}", 0o600, "two accounts", id="no token"),
        pytest.param(f"{TOKENS[0]}\nü{TOKENS[1]}", 0o600, "two accounts", id="no ASCII"),
        pytest.param("\n".join(TOKENS), 0o644, "chmod 600", id="open to all"),
    ],
)
def test_another_file_is_an_error_that_says_what_to_do_and_quotes_nothing(
    tmp_path: Path, text: str, mode: int, remedy: str
) -> None:
    with pytest.raises(NoAccount, match=remedy) as caught:
        TokenFile(written(tmp_path, text, mode)).read()
    assert not any(token in str(caught.value) for token in TOKENS)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(NoAccount, match="No such file"):
        TokenFile(tmp_path / "tokens").read()


@pytest.mark.parametrize(
    "url", ["chat.example.com", "ftp://chat.example.com", "https://", "https://x:99999", "https://u:p@x", "https://x/a"]
)
def test_an_address_that_is_none_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["probe", "--url", url])
    assert caught.value.code == 2
    assert "https://chat.example.com" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "0.5", "3601", "nan", "soon"])
def test_an_interval_out_of_bounds_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["probe", "--url", "http://x", "--every", seconds])
    assert "from 1 to 3600" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65536", "http", "1.5"])
def test_a_port_out_of_bounds_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["probe", "--url", "http://x", "--metrics-port", port])
    assert caught.value.code == 2
    assert "from 0 to 65535" in capsys.readouterr().err


def test_one_number_twice_is_not_two_accounts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--url", "http://x", "--once", "--phone-numbers", "+14155550101", "+14155550101"]) == 2
    assert "two accounts" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_one_line_and_exit_code_1(unused_tcp_port: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chatserver", "probe", "--url", f"http://127.0.0.1:{unused_tcp_port}", "--once"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 1
    assert done.stdout.startswith("failed: sign_in: ")
    assert done.stdout.count("\n") == 1


def test_unusable_files_are_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, "x")
    for option in ("--token-file", "--ca-file", "--certificate-file"):
        assert main(["probe", "--url", "https://x", "--once", option, str(file)]) == 2
        assert str(file) in capsys.readouterr().err
