"""`python -m tests.bench.table`: the figures of the last run as Markdown tables, between markers of the READMEs.

In: `.trimtab/bench/bench.json`. Out: `<!-- bench:NAME -->` ... `<!-- /bench -->` filled anew in the READMEs that
have them. Must never know: how anything was measured. A README without a marker stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.figures import OUT, ROOT, say, shown

READMES = (
    "serving/README.md", "agent/README.md", "agent/profile/README.md", "agent/drift/README.md",
    "agent/export/README.md", "retrain/README.md", "helm/README.md",
)  # fmt: skip
_PLACE = re.compile(r"(<!-- bench:(?P<name>[a-z]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
Part = Mapping[str, Any]


def table(name: str, part: Part) -> str:
    """One part as Markdown, with the machine it was taken on."""
    rows = _account(part["figures"]) if name == "overload" else _list(part["figures"])
    head, *body = rows
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, body)]
    quick = ", `--quick`: the figures mean little" if part["quick"] else ""
    taken = (
        f"{part['cpu']}, {part['cores']} cores, load {part['load_1min']} before and {part['load_after']} after, Python"
        f" {part['python']}, commit {part['commit']}, {part['at'][:10]}{quick}. `python -m tests.bench --only {name}`."
    )
    return "\n".join([*lines, "", taken]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _list(figures: Sequence[Part]) -> list[list[str]]:
    """A figure a row."""
    rows = [["what", "measured", "promised", "ratio", "against"]]
    for figure in figures:
        missed = "" if figure["kept"] is not False else " **missed**"
        against = f"{figure['against']}: {shown(figure['baseline'])}" if figure["against"] else ""
        ratio = "" if figure["ratio"] is None else shown(figure["ratio"])
        rows.append([figure["says"], figure["measured"] + missed, figure["promise"], ratio, against])
    return rows


def _account(figures: Sequence[Part]) -> list[list[str]]:
    """A scenario a row: what became of its requests, and what it cost them."""
    rows = [["sidecar", "answered", "stored", "dropped, counted", "lost", "lost - counted", "buffer at first drop",
             "server CPU", "p50", "p99"]]  # fmt: skip
    for says in dict.fromkeys(figure["says"].partition(":")[0] for figure in figures):
        of = {f["name"].partition("_")[2]: f for f in figures if f["says"].startswith(f"{says}:")}
        full = of.get("full_at_first_drop")
        off = of["lost"]["value"] - of["dropped"]["value"]
        rows.append([
            says, *(of[key]["measured"] for key in ("sent", "stored", "dropped", "lost")),
            f"{shown(off)}{'' if off == 0 else ' **missed**'}", full["measured"] if full else "never full",
            *(f"{of[key]['measured']} (x{shown(of[key]['ratio'])})" for key in ("cpu_us", "p50_ms", "p99_ms")),
        ])  # fmt: skip
    return rows


def fill(text: str, parts: Mapping[str, Part]) -> str:
    """The text with what stands between known markers replaced; a part that was not measured stays as it is."""

    def put(place: re.Match[str]) -> str:
        part = parts.get(place["name"])
        return place[0] if part is None else place[1] + table(place["name"], part) + place[3]

    return _PLACE.sub(put, text)


def main() -> None:
    """Fills the READMEs."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.table", description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT, help=f"what to write ({OUT.relative_to(ROOT)})")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the READMEs are")
    given = parser.parse_args()
    parts = json.loads(given.json.read_text())["parts"]
    for name in READMES:
        readme = given.root / name
        if readme.exists() and (new := fill(old := readme.read_text(), parts)) != old:
            readme.write_text(new)
            say(f"written: {name}")


if __name__ == "__main__":
    main()
