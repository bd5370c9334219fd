"""`python -m tests.bench`: what Trimtab costs on this machine, part after part, into one JSON file.

In: which parts, how thoroughly. Out: lines for a person, `.trimtab/bench/bench.json`, exit code 1 when a part failed.
Must never know: how anything is measured. Each part runs in a process of its own, so that no part weighs on the next.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.figures import OUT, ROOT, keep, machine, say
from tests.bench.scale import Scale

PARTS = (
    "tap", "latency", "overload", "intake", "storage", "profile", "drift", "sidecar", "agent", "scrape", "fleet",
    "training", "curation", "order",
)  # fmt: skip


def main() -> int:
    """Runs the parts; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone; may be given again")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: shows that it runs")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each overload lasts (10)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"the JSON file ({OUT.relative_to(ROOT)})")
    given = parser.parse_args()
    scale = Scale(quick=given.quick, overload_s=1.0 if given.quick else given.seconds)
    names = given.only or list(PARTS)
    if len(names) == 1:
        run(names[0], scale, given.out)
        return 0
    begun, failed = time.monotonic(), []
    for i, name in enumerate(names, start=1):
        say(f"[{i}/{len(names)}] {name} ({time.monotonic() - begun:.0f} s so far)")
        argv = [sys.executable, "-m", "tests.bench", "--only", name, "--seconds", str(given.seconds)]
        argv += ["--out", str(given.out), *(["--quick"] if given.quick else [])]
        if subprocess.run(argv, check=False, cwd=ROOT).returncode:
            failed.append(name)
    say(f"{len(names) - len(failed)} of {len(names)} parts in {time.monotonic() - begun:.0f} s: {given.out}")
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def run(name: str, scale: Scale, out: Path) -> None:
    """Measures one part in this process, prints its figures and keeps them."""
    facts, begun = machine(), time.monotonic()
    figures = importlib.import_module(f"tests.bench.{name}").measure(scale)
    elapsed_s = time.monotonic() - begun
    for figure in figures:
        say("    " + figure.line())
    missed = [figure.says for figure in figures if figure.kept is False]
    say(f"    {name}: {elapsed_s:.0f} s, load {os.getloadavg()[0]:.1f}; bounds missed: {len(missed)}")
    facts |= {"quick": scale.quick, "elapsed_s": round(elapsed_s, 1), "load_after": round(os.getloadavg()[0], 2)}
    keep(out, name, figures, facts)


if __name__ == "__main__":
    sys.exit(main())
