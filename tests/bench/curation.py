"""What curation costs: rows a second from the store to the report, with every fault planted that it should find.

In: the scale. Out: rows/s and seconds by the clock, CPU, peak memory, and the share of planted faults that was caught.
Must never know: in which step a fault is caught.

The rows are a support desk's traffic (tests/retrain/curate/desk.py) as exchanges with a person's correction.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from agent.store import Store
from agent.types import Exchange, Grade, Message, Outcome
from retrain.curate import Row, curate
from retrain.order import Order, parse
from retrain.training.record import resident_peak
from tests.bench.figures import Figure
from tests.bench.scale import Scale
from tests.retrain.curate.measure import caught, curated, planted

MOST_S = 60.0
"""Promised of 10,000 rows on two cores."""
AT = datetime(2026, 1, 1, tzinfo=UTC)


def measure(scale: Scale) -> list[Figure]:
    """The figures of curation."""
    size = scale.of(10_000, 1_000)
    made = planted(size)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store = Store.at(home)
        corrected(store, list(reversed(made.rows)))
        began, cpu = time.perf_counter(), time.process_time()
        curate(_order(home, store, size), store, home / "work")
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        store.close()
    found = caught(made, curated(made))
    wrong, of = found.wrong_labels
    copies, of_copies = found.copies
    return [
        Figure(name="rows_per_s", says="curation, from the store to the report", value=size / wall, unit="rows/s"),
        Figure(name="seconds", says=f"curation of {size:,} rows", value=wall, unit="s", bound=MOST_S),
        Figure(name="cpu_s", says="the same, of one core", value=cpu, unit="CPU s"),
        Figure(name="peak_mb", says="peak memory of curation", value=resident_peak() / 1e6, unit="MB"),
        Figure(name="wrong_caught", says="planted wrong labels dropped where learnt", value=wrong / of, unit="of 1"),
        Figure(name="copies_caught", says="planted near duplicates across the split removed",
               value=copies / of_copies, unit="of 1"),
    ]  # fmt: skip


def corrected(store: Store, rows: Sequence[Row]) -> None:
    """Enter rows, oldest first, as exchanges whose answer a person corrected."""
    made = [
        Exchange(
            id=row.id, worker="w", seq=n, started_at=AT, path="/v1/chat/completions", alias="home",
            version="home-v1", status=200, outcome=Outcome.COMPLETE, user=row.user, answer="what",
            messages=tuple(Message(role=role, text=text) for role, text in row.messages),
        )
        for n, row in enumerate(rows)
    ]  # fmt: skip
    store.add_exchanges(made)
    store.add_grades(
        [Grade(exchange_id=r.id, source="p", score=0.0, truth=True, at=AT, correction=r.answer) for r in rows]
    )


def _order(home: Path, store: Store, size: int) -> Order:
    return parse(
        {
            "id": "o1", "reason": "a measurement", "alias": "home", "challenger": "home-v2", "store": store.url,
            "champion": {"name": "home-v1", "path": str(home)}, "home": str(home),
            "engine": {"url": "http://127.0.0.1:9"}, "base_model": {"path": str(home)},
            "data": {"max_fresh_rows": size, "holdout_rows": size // 10},
        }
    )  # fmt: skip
