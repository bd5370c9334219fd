"""The images, read as Docker would read them: pinned, from the locks, nobody in particular. Docker is not needed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.helm.chart import ROOT, named, pod

IMAGES = ("agent", "retrain")
LOCKS = {"agent": "requirements-agent.lock", "retrain": "requirements-retrain.lock"}
every_image = pytest.mark.parametrize("image", IMAGES)


def steps(image: str) -> list[tuple[str, str]]:
    """(instruction, its words) of a Dockerfile, continued lines joined, comments left out."""
    text = (ROOT / image / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"(?m)^#.*\n", "", text).replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last pattern that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        anywhere, pattern = "**/" in line, line.removeprefix("!").removeprefix("**/")
        whole = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
        parts = Path(path).parts if anywhere else whole
        if line and not line.startswith("#") and any(fnmatch(part, pattern) for part in parts):
            sent = line.startswith("!")
    return sent


@every_image
def test_the_base_is_one_version_and_both_stages_stand_on_it(image: str) -> None:
    """A tag that moves would build another image from the same files."""
    found = steps(image)
    assert found[0][0] == "ARG"
    assert re.fullmatch(r"PYTHON=python:3\.11\.\d+-slim-bookworm", found[0][1])
    assert [rest.split()[0] for word, rest in found if word == "FROM"] == ["${PYTHON}", "${PYTHON}"]


@every_image
def test_all_that_is_installed_is_locked(image: str) -> None:
    """Every pip of the build takes files by their hash, or wheels that were made from such; nothing else is fetched."""
    ran = [command for word, rest in steps(image) if word == "RUN" for command in rest.split("&&")]
    pips = [command for command in ran if re.search(r"pip\b.* (install|wheel)\b", command)]
    assert len(pips) >= 4
    for command in pips:
        words = shlex.split(command)
        assert "--require-hashes" in words or {"--no-deps"} <= set(words), command
        assert "--no-build-isolation" in words or "wheel" not in words, command
        for lock in re.findall(r"requirements\S*\.lock", command):
            assert (ROOT / lock).is_file()
    assert any(LOCKS[image] in command for command in pips)
    assert not re.search(r"curl|wget|apt-get|git clone", " ".join(ran))


@every_image
def test_what_is_copied_is_there_and_is_all_that_is_needed(image: str) -> None:
    """Each source exists and is sent to the build; each package of the wheel is copied."""
    sources = [
        source for word, rest in steps(image) if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]
    ]
    for source in sources:
        assert (ROOT / source).exists(), source
        assert is_sent(source), source
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(sources)
    assert {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"} <= set(sources)


def test_nothing_else_is_sent_to_the_build() -> None:
    """State, secrets and the history of the repository stay where they are; code and its data do not."""
    for path in (
        ".venv/bin/python",
        ".git/config",
        ".trimtab/demo/summary.json",
        "tests/needs.py",
        ".env",
        "helm/README.md",
    ):
        assert not is_sent(path), path
    for path in ("agent/cli.py", "serving/tap.py", "retrain/metrics/f1.py", "README.md", "requirements-agent.lock"):
        assert is_sent(path), path


@every_image
def test_it_runs_as_nobody_in_particular(image: str) -> None:
    """The last stage ends as a user that is not root, by number, so that Kubernetes can see it."""
    found = steps(image)
    last = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    users = [rest for word, rest in found[last:] if word == "USER"]
    assert users == ["10001:10001"]
    assert [word for word, _ in found[last:]].index("USER") > [word for word, _ in found[last:]].index("COPY")


def test_the_middleware_is_copied_whole(tmp_path: Path) -> None:
    """What the init container runs leaves a package that a bare Python can mount."""
    container = named(pod("minimal"), "trimtab-middleware")
    program, option, script = container["command"]
    assert (program, option) == ("python", "-c")
    script = script.replace("/middleware", str(tmp_path))
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    mounted = (
        "import sys; sys.path.insert(0, sys.argv[1]); from serving.middleware import Trimtab; print(Trimtab.__name__)"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", mounted, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "Trimtab\n"
