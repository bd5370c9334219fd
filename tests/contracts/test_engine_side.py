"""What is mounted into a stock vLLM image needs nothing installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOUNTED = ("wire", "guard", "body", "alias", "listing", "tap", "spool", "middleware")


def imported(path: Path) -> set[str]:
    """Every module that a file imports, lazily or not, by its full name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "serving" if node.level else str(node.module)
            whole = f"{module}.{node.module}" if node.level and node.module else module
            names |= {f"serving.{a.name}" for a in node.names} if whole == "serving" else {whole}
    return names


def reachable(start: str) -> set[str]:
    """What a file of `serving` imports, also through other files of `serving`; those themselves left out."""
    seen, todo, foreign = set[str](), [start], set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for module in imported(ROOT / "serving" / f"{name}.py"):
            if module.startswith("serving."):
                todo.append(module.split(".")[1])
            else:
                foreign.add(module)
    return foreign


@pytest.mark.parametrize("name", [*MOUNTED, "__init__"])
def test_it_imports_the_standard_library_alone(name: str) -> None:
    """No line of it, not even inside a function, imports anything that must be installed."""
    assert {module for module in reachable(name) if module.split(".")[0] not in sys.stdlib_module_names} == set()


def test_it_loads_in_a_python_with_nothing_installed() -> None:
    """A bare interpreter without site-packages imports the middleware."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import serving.middleware"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
