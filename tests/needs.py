"""What a test needs beside Python, and the one command that brings it.

Lives here: `need`, which finds a program or skips; in CI a skip is a failure.
Comes in: the name of a program and the command that installs it. Goes out: its path.
Must never know: what the program is for.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

TOOLS = Path(__file__).resolve().parent.parent / ".trimtab" / "tools"
"""Where programs that come out of a wheel are put; looked at before PATH."""


def need(program: str, command: str) -> str:
    """The path of a program. Without it: skip, naming the command that brings it; with CI=true: fail."""
    found = shutil.which(program, path=str(TOOLS)) or shutil.which(program)
    if found is not None:
        return found
    return _absent(program, command)


def need_module(module: str, command: str) -> None:
    """Returns when the module can be imported. Without it: as `need`."""
    if importlib.util.find_spec(module) is None:
        _absent(module, command)


def _absent(what: str, command: str) -> NoReturn:
    says = f"{what} is not installed; get it with: {command}"
    if os.environ.get("CI") == "true":
        pytest.fail(says)
    pytest.skip(says)
