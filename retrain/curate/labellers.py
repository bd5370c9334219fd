"""Plain Python files of the owner: a labeller, labelling functions.

In: a path, a name. Out: what the file defines, or InvalidInput in one sentence.
Must never know: rows, the store. The file is run: an order may name only code that its writer trusts.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from serving.errors import InvalidInput, TrimtabError

Labeller = Callable[[str], str | None]


def load_file(path: Path, what: str) -> ModuleType:
    """Run a Python file and give its module. Raises InvalidInput; `what` says what it was wanted for."""
    spec = importlib.util.spec_from_file_location(f"labeller_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InvalidInput(f"{what}: there is no file {path}; write the path of a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses and pickles look a class's module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidInput(f"{what} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def load_labeller(spec: str | None) -> Labeller | None:
    """The function of `file.py:function`, checked at every call. Raises InvalidInput when there is none."""
    if spec is None:
        return None
    file, _, name = spec.rpartition(":")
    function = getattr(load_file(Path(file), f"labeller {spec}"), name, None)
    if not callable(function):
        raise InvalidInput(f"labeller {spec} cannot be loaded: {file} defines no function {name}")

    def label(text: str) -> str | None:
        try:
            said = function(text)
        except Exception as error:
            raise TrimtabError(f"labeller {spec} failed on {text[:80]!r}: {type(error).__name__}: {error}") from error
        if said is not None and not isinstance(said, str):
            raise InvalidInput(f"labeller {spec} gave a {type(said).__name__}: it must give text or None")
        return said

    return label
