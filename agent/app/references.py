"""The reference of a version: where it lies, that it is here, and what stands in it.

Lives here: `References`, which has a version's folder brought before it looks; `reference_path`, `read_reference`;
`read_pairs`, where the reader of logs meets the profiles.
Comes in: settings, the adapters that the store knows, JSON lines. Goes out: a path, records, or pairs of texts.
Must never know: what is compared with a reference, or learnt from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.drift.lines import Reader
from agent.drift.records import Record
from agent.settings import Settings
from agent.store import Store
from agent.types import AdapterVersion, InvalidInput, Unservable

Bring = Callable[[AdapterVersion], object]
"""Has a version's folder on this machine."""


class References:
    """Finds references of versions whose folders may lie in an object store."""

    def __init__(self, settings: Settings, store: Store, bring: Bring = bool) -> None:
        """`bring` does nothing where every folder is here already."""
        self._settings, self._store, self._bring = settings, store, bring

    def path(self, version: str, now: datetime) -> Path | None:
        """Where the version's reference lies, once its folder is here; None when it has none.

        Raises what `bring` raises, so that nobody takes "not here yet" for "has none"; only a version that is nowhere
        to be had (Unservable) is one without a reference, and the record says so.
        """
        if self._settings.reference is None or version != self._settings.first_version:
            for adapter in self._store.adapters(self._settings.alias):
                if adapter.name == version and adapter.digest:  # one that was only seen has no folder of ours
                    try:
                        self._bring(adapter)
                    except Unservable as fault:
                        self._store.record("reference", f"{version} cannot be brought here: {fault}", now)
        return self.present(version)

    def present(self, version: str) -> Path | None:
        """The same of what is here, without asking anybody for more."""
        return reference_path(self._settings, self._store, version)


def reference_path(settings: Settings, store: Store, version: str) -> Path | None:
    """Where the reference of a version lies: the settings name the first one, later ones bring their own."""
    if version == settings.first_version and settings.reference is not None:
        return settings.reference
    for adapter in store.adapters(settings.alias):
        path = Path(adapter.path) / "reference.jsonl"
        if adapter.name == version and path.exists():
            return path
    return None


def read_reference(path: Path) -> list[Record]:
    """Records of a JSON lines file with keys prompt, answer (or response) and optionally at, user, conversation."""
    try:
        with path.open(encoding="utf-8") as lines:
            return [record_of_item(json.loads(line), n) for n, line in enumerate(lines, 1) if line.strip()]
    except (OSError, ValueError, KeyError) as error:
        msg = (
            f"reference {path} is not JSON lines with prompt and answer ({error}): record it again or unset `reference`"
        )
        raise InvalidInput(msg) from error


def read_pairs(path: Path, tell: Callable[[str], object] = bool) -> Iterator[tuple[str, str]]:
    """Prompts and answers of JSON lines in any form that `trimtab backtest` reads; `tell` hears what was passed over.

    Raises InvalidInput.
    """
    reader = Reader([path])
    for record in reader:
        yield record.prompt, record.answer
    for loss in reader.losses:
        tell(loss)


def record_of_item(item: dict[str, Any], number: int = 0) -> Record:
    """One line of a reference. Raises KeyError or ValueError."""
    at = item.get("at") or "1970-01-01T00:00:00+00:00"
    return Record(
        id=str(item.get("id", number)),
        prompt=item["prompt"],
        answer=item["answer"] if "answer" in item else item["response"],
        at=datetime.fromisoformat(at),
        user=item.get("user"),
        conversation=item.get("conversation"),
        template=item.get("template"),
        latency_s=item.get("latency_s"),
        ttft_s=item.get("ttft_s"),
    )
