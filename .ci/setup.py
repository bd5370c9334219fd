"""Builds the virtual environment from a lock file, showing what it does and how long it takes.

In: a lock file with hashes (every package: nothing is resolved here), and pip as this machine configures it.
Out: a virtual environment that holds exactly that, and Trimtab itself as an editable install.
Must never know: what the packages are for. It needs the standard library alone.

    python3 .ci/setup.py            builds .venv from requirements.lock, or says at once that it is up to date
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
HEARTBEAT_S = 5.0
LIMIT_S = 1500.0
# torch without CUDA is not on every index: where the configured ones lack it, PyTorch's own is added.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# The lock holds the hash of torch's wheel for this Python only; for others the wheel is taken by its version.
TORCH_HASHED_FOR = (3, 11)


class SetupError(Exception):
    """Setting up went wrong; the message says what to do."""


def main() -> int:
    """Build the environment where it is missing or out of date; 0 means it is ready."""
    parser = argparse.ArgumentParser(description="Build Trimtab's virtual environment from a lock file.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where to build it")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock", help="what goes into it")
    args = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 (the Python that runs this is not yet chosen)
        say(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; name another: make PYTHON=python3.12")
        return 2
    try:
        build(args.venv, args.lock)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("stopped; the next run begins the environment anew")
        return 130
    return 0


def build(folder: Path, lock: Path) -> None:
    """Make `folder` hold what `lock` says; begins anew where the Python changed or the last time did not end well."""
    started = time.monotonic()
    mark, wanted = folder / "locked", fingerprint(lock)
    python = folder / "bin" / "python"
    if not (mark.exists() and mark.read_text() == wanted):
        blocks = pins(lock)
        python_version = sys.version.split()[0]
        say(f"building {folder.name} with Python {python_version} from {lock.name}: {len(blocks)} packages")
        if not (mark.exists() and mark.read_text().split()[1:] == wanted.split()[1:]):
            make_venv(folder)
        mark.unlink(missing_ok=True)
        log = folder / "setup.log"
        if "torch" in blocks:
            install_torch(python, blocks["torch"], log)
        if tools := blocks.get("setuptools"):  # one package comes as source only
            install_pins(python, {"setuptools": tools}, log, what="build tools")
        install_pins(python, {name: block for name, block in blocks.items() if name != "torch"}, log, what="packages")
        remove_strangers(python, set(blocks))
        mark.write_text(wanted)
    itself = ["--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    pip(python, itself, folder / "setup.log", what="trimtab itself")
    say(f"{folder.name} is ready ({time.monotonic() - started:.0f} s)")


def fingerprint(lock: Path) -> str:
    """What the environment depends on: the lock's bytes and the Python that runs it."""
    return f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {sys.version_info[0]}.{sys.version_info[1]}\n"


def pins(lock: Path) -> dict[str, str]:
    """The package names of a lock file, each with its block of lines (requirement and hashes)."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", lock.read_text())
    return {block.split("==", 1)[0].strip(): block for block in blocks if "==" in block}


def make_venv(folder: Path) -> None:
    """Create an empty environment with pip in it."""
    try:
        venv.EnvBuilder(clear=True, with_pip=True, symlinks=True).create(folder)
    except (subprocess.CalledProcessError, OSError) as error:
        message = f"no virtual environment could be made ({error}); on Debian: apt-get install python3-venv"
        raise SetupError(message) from error


def install_torch(python: Path, block: str, log: Path) -> None:
    """Install the locked torch: from the configured indexes, else with PyTorch's own CPU index added."""
    hashed = sys.version_info[:2] == TORCH_HASHED_FOR
    if not hashed:
        say("torch: the lock has no hash for this Python, its wheel is taken by its version")
        block = block.split(maxsplit=1)[0]
    try:
        install_pins(python, {"torch": block}, log, what="torch", hashed=hashed)
    except SetupError:
        say(f"torch: not on the configured indexes; trying with {TORCH_CPU_INDEX}")
        more = ("--extra-index-url", TORCH_CPU_INDEX)
        install_pins(python, {"torch": block}, log, *more, what="torch", hashed=hashed)


def install_pins(python: Path, blocks: dict[str, str], log: Path, *more: str, what: str, hashed: bool = True) -> None:
    """Install these blocks of the lock. Nothing is resolved, and no build fetches tools of its own."""
    if not blocks:
        return
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text("\n".join(blocks.values()) + "\n")
        args = ["--no-deps", "--no-build-isolation", "--use-pep517", "-r", str(wanted), *more]
        if hashed:
            args.insert(0, "--require-hashes")
        pip(python, args, log, what=what, count=len(blocks))


def remove_strangers(python: Path, locked: set[str]) -> None:
    """Uninstall what an older lock brought and this one does not name."""
    listed = subprocess.run([str(python), "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    names = {re.sub(r"[-_.]+", "-", str(package["name"])).lower() for package in json.loads(listed.stdout)}
    if strangers := sorted(names - locked - {"pip", "setuptools", "trimtab"}):
        say(f"removing {', '.join(strangers)}")
        subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *strangers], check=True)


def pip(python: Path, args: list[str], log: Path, *, what: str, count: int = 0) -> None:
    """Run `pip install`, its output in `log`, with a sign of life every few seconds; SetupError if it fails."""
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--no-input",
        "--no-compile",
        "--disable-pip-version-check",
    ]
    started = time.monotonic()
    with log.open("a") as output:
        begin = output.tell()
        child = subprocess.Popen([*command, *args], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            while not ended(child, HEARTBEAT_S):
                passed_s = time.monotonic() - started
                if passed_s > LIMIT_S:
                    message = f"{what}: not installed within {LIMIT_S:.0f} s; see {log}, and run it again"
                    raise SetupError(message)
                say(f"{what}: {progress(log.read_text(errors='replace')[begin:], count)}, {passed_s:.0f} s")
        finally:
            child.kill()
            child.wait()
    if child.returncode:
        tail = "\n".join(log.read_text(errors="replace")[begin:].splitlines()[-12:])
        message = f"{what}: pip ended with {child.returncode}; its last lines (all of them: {log}):\n{tail}"
        raise SetupError(message)
    say(f"{what}: installed ({time.monotonic() - started:.0f} s)")


def ended(child: subprocess.Popen[bytes], wait_s: float) -> bool:
    """Wait up to `wait_s` for the child; whether it has ended."""
    try:
        child.wait(timeout=wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def progress(output: str, count: int) -> str:
    """How far pip is, read from what it has printed so far."""
    if "Installing collected packages" in output:
        return "unpacking"
    fetched = len(re.findall(r"(?m)^(?:Collecting|Processing) ", output))
    return f"fetched {fetched} of {count or 1}"


def say(text: str) -> None:
    """Print one line, at once."""
    print(f"setup: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
