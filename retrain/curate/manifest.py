"""What a training set was made of: files with digests, people by their marks, sources, seeds, versions.

In: the order's folder, rows. Out: data.json in it. Must never know: texts; a manifest outlives them.
`trimtab forget` reads it to say which adapters learnt from a person.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agent.store import artifacts
from retrain.curate.rows import Row

FILE = "data.json"
PACKAGES = ("cleanlab", "datasketch", "scikit-learn", "snorkel", "presidio-analyzer")


def write(
    work: Path, sets: Mapping[str, Sequence[Row]], *, inputs: Mapping[str, Path], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the manifest of the files `sets` (name -> rows) in a folder; on disk by a rename. Returns it."""
    learnt = [row for name, rows in sets.items() if not name.startswith("holdout") for row in rows]
    examined = [row for name, rows in sets.items() if name.startswith("holdout") for row in rows]
    document = {
        "files": {name: {"rows": len(rows), "sha256": _digest(work / name)} for name, rows in sets.items()},
        "inputs": {str(path): _digest(path) for path in inputs.values()},
        "sources": dict(Counter(row.source for row in learnt)),
        "users": dict(sorted(Counter(row.user for row in learnt if row.user).items())),
        "users_examined": dict(sorted(Counter(row.user for row in examined if row.user).items())),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        **more,
    }
    draft = work / (FILE + ".tmp")
    draft.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(work / FILE)
    return document


def _digest(path: Path) -> str | None:
    return artifacts.file_sha256(path) if path.is_file() else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
