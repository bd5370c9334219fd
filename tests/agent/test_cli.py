"""The `trimtab` command as a newcomer meets it: help, refusals, exit codes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.app import restore
from agent.app.database import open_store, reading_store
from agent.cli import app
from agent.settings import Settings
from agent.store import artifacts
from agent.types import InvalidInput

COMMANDS = ("agent", "adopt", "status", "doctor", "backtest", "serve", "retrain", "demo")


def trimtab(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *words], capture_output=True, text=True, check=False, timeout=120, env=env
    )


def refused(done: subprocess.CompletedProcess[str], says: str, code: int = 2) -> None:
    """One sentence on standard error, nothing else."""
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_the_root_help_names_every_command() -> None:
    """A newcomer sees what there is, and where to start."""
    said = trimtab("--help").stdout
    assert all(command in said for command in COMMANDS)
    assert "trimtab demo" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    """Help says in a sentence what the command does."""
    done = trimtab(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("backtest x --budget 0.5", "invalid value for '--budget': it must be a valid integer; see `trimtab backtest"),
        ("export --sinse 3", "no such option: --sinse"),
        ("policy nonsense", "no such command 'nonsense'; see `trimtab policy --help`"),
        ("serve --port abc", "invalid value for '--port'"),
        ("import", "missing argument 'FILE...'"),
    ],
)
def test_wrong_words_are_refused(words: str, says: str) -> None:
    """Of every command, also those that other packages bring: one sentence, exit code 2, no box."""
    refused(trimtab(*words.split()), says)


def test_a_group_alone_shows_its_help() -> None:
    """Not an error to explain: the help, and a code that says that nothing was done."""
    done = trimtab("policy")
    assert done.returncode == 2
    assert "simulate" in done.stdout + done.stderr


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    """Exit code 2 and the keys that exist."""
    (tmp_path / "s.yaml").write_text("engin: {}")
    refused(trimtab("agent", "--settings", str(tmp_path / "s.yaml")), "unknown key 'engin'")


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """The agent does not start half: the port is looked at first."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "s.yaml").write_text(f"home: {tmp_path}/home\nhttp: {{port: {port}}}")
        refused(trimtab("agent", "-s", str(tmp_path / "s.yaml")), f"port {port} on 127.0.0.1 cannot be used")
    assert not (tmp_path / "home").exists()


def test_a_champion_that_is_no_adapter_is_said(tmp_path: Path) -> None:
    """The sentence names the folder and what it lacks."""
    (tmp_path / "s.yaml").write_text(f"home: {tmp_path}/home\nchampion: {tmp_path}/nothing\nhttp: {{port: 0}}")
    refused(trimtab("agent", "-s", str(tmp_path / "s.yaml")), "has no readable manifest.json")


def test_a_model_that_is_not_there_is_said(tmp_path: Path) -> None:
    """`serve` looks before it becomes vLLM."""
    refused(trimtab("serve", "--model", str(tmp_path / "none")), str(tmp_path / "none"))


def test_status_without_an_agent_says_how_to_start_one(tmp_path: Path) -> None:
    """No agent is a fault of the world, not of the caller: exit code 1."""
    (tmp_path / "s.yaml").write_text(f"home: {tmp_path}\nhttp: {{port: 9}}")
    refused(trimtab("status", "-s", str(tmp_path / "s.yaml")), "start it with `trimtab agent`", code=1)


def test_doctor_names_what_is_missing(tmp_path: Path) -> None:
    """Every `no` comes with its remedy."""
    (tmp_path / "s.yaml").write_text(f"home: {tmp_path}\nhttp: {{port: 9}}\nengine: {{url: 'http://127.0.0.1:9'}}")
    done = trimtab("doctor", "-s", str(tmp_path / "s.yaml"))
    assert done.returncode == 1
    assert "start it with `trimtab serve" in done.stdout


def test_an_adapter_of_ones_own_is_sealed_once(tmp_path: Path) -> None:
    """`adopt` makes a peft folder a champion; a second time, or a folder that is none, is refused in a sentence."""
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    adapter.mkdir()
    base.mkdir()
    (base / "config.json").write_text("{}")
    (adapter / "adapter_config.json").write_text("{}")
    refused(trimtab("adopt", str(adapter), "--base-model", str(base)), "has no adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    done = trimtab("adopt", str(adapter), "--base-model", str(base))
    assert done.returncode == 0, done.stderr
    assert artifacts.verify(adapter) in done.stdout
    refused(trimtab("adopt", str(adapter), "--base-model", str(base)), "is sealed already")


def test_the_version_is_said() -> None:
    """What a bug report begins with."""
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0, done.output
    assert done.output == f"trimtab {version('trimtab')}\n"


def test_a_database_that_is_none_is_said(tmp_path: Path) -> None:
    """A broken file is named, whether a command writes or reads."""
    (tmp_path / "trimtab.db").write_bytes(b"no database " * 100)
    for opened in (open_store, reading_store):
        with pytest.raises(InvalidInput, match=r"trimtab\.db cannot be read \(file is not a database\): put a backup"):
            opened(Settings(home=tmp_path))


def test_a_wrong_name_to_import_makes_no_store(tmp_path: Path) -> None:
    """Or `trimtab forget`, asked in the same wrong folder, would find an empty store and nobody in it."""
    good, home = tmp_path / "good.jsonl", tmp_path / "home"
    good.write_text('{"prompt": "a", "response": "b"}\n')
    with pytest.raises(InvalidInput, match="nowhere cannot be read"):
        restore.run(Settings(home=home), [good, tmp_path / "nowhere"], pytest.fail)
    assert not home.exists()


def test_a_full_disk_under_stdout_is_said(tmp_path: Path) -> None:
    """One sentence, not a traceback, when a redirected output finds no room."""
    log = tmp_path / "log.jsonl"
    words = ("a lamp", "the light", "my heater", "one fan")
    log.write_text("".join(f'{{"prompt": "turn on {words[n % 4]}", "response": "done"}}\n' for n in range(200)))
    with log.open("a") as file:
        file.writelines(f'{{"prompt": "{n} {n + 1} {n + 2} {n + 3}", "response": "no, {n}"}}\n' for n in range(200))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agent.cli", "backtest", str(log), "--reference-rows", "100"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120,
        )  # fmt: skip
    refused(done, "there is no room")
