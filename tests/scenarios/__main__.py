"""`python -m tests.scenarios`: every detector on the same streams, scored, and the table in the drift room's README.

Lives here: the list of streams, one process per group of detectors, the files that come out.
Comes in: how many streams. Goes out: `.trimtab/scenarios/scores.json`, and a table between two marks in README.
Must never know: what makes a stream, or a score.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.scenarios.changes import BEFORE_ROWS, CHANGES, REFERENCE_ROWS, sources_of, stream
from tests.scenarios.peers import AS_SHIPPED, GROUPS, HEAVY, TRIMTAB
from tests.scenarios.scoring import Run, Score, broken, tables
from tests.scenarios.shapes import SHAPES
from tests.scenarios.sources import available, source

ROOT = Path(__file__).parents[2]
OUT = ROOT / ".trimtab" / "scenarios"
README = ROOT / "agent" / "drift" / "README.md"
BEGIN, END = "<!-- scenarios: begin -->", "<!-- scenarios: end -->"
QUIET_ROWS, CHANGED_ROWS = 1_000, 1_600
"""Live records of a stream without a change, and with one (at `BEFORE_ROWS`)."""
UNDER_DEPENDENCE = (
    "topics 10 %",
    "topics 30 %",
    "topics 10 % of everyone's",
    "topics 30 % of everyone's",
    "answers truncated 30 %",
)
_TOLD_EVERY_S = 20.0


@dataclass(frozen=True, slots=True)
class Job:
    """One stream to be made and heard."""

    change: str
    shape: str
    source: str
    seed: int
    rows: int


def jobs_of(streams: int, rows: int) -> list[Job]:
    """`streams` independent quiet ones, a quarter as many of each dependent kind, a twentieth of each change."""
    known = available()
    out = [
        Job("", shape, known[seed % len(known)], seed, rows)
        for shape in SHAPES
        for seed in range(streams if shape == "independent" else math.ceil(streams / 4))
    ]
    for name, change in CHANGES.items():
        places = sources_of(change, known)
        for shape in SHAPES:
            if shape == "independent" or (shape != "growth" and name in UNDER_DEPENDENCE):
                each = range(max(len(places), math.ceil(streams / 20)))
                out += [Job(name, shape, places[seed % len(places)], seed, CHANGED_ROWS) for seed in each]
    return out


def work(group: str, budget_windows: int) -> None:
    """Hear every stream that is named on standard input, a JSON line each way."""
    for line in sys.stdin:
        job = Job(**json.loads(line))
        made = stream(job.source, job.shape, CHANGES.get(job.change), seed=job.seed, rows=job.rows)
        heard = GROUPS[group](made, budget_windows * 100, job.seed)
        told = {
            **asdict(job),
            "change_at": made.change_at,
            "learned_rows": len(made.reference),
            "events": {name: one.events for name, one in heard.items()},
            "cpu_s": {name: one.cpu_s for name, one in heard.items()},
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def hear(group: str, jobs: Sequence[Job], budget_windows: int, processes: int) -> Iterator[dict[str, Any]]:
    """What a group of detectors says, from processes that end with their imports."""
    command = [sys.executable, "-m", "tests.scenarios", "--work", group, "--budget", str(budget_windows)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    running = []
    for n in range(processes):
        asked = OUT / f"jobs-{group}-{n}.jsonl"
        asked.write_text("".join(json.dumps(asdict(job)) + "\n" for job in jobs[n::processes]), encoding="utf-8")
        with asked.open() as stdin, asked.with_suffix(".out").open("w") as stdout:
            running.append((subprocess.Popen(command, stdin=stdin, stdout=stdout, env=environment, cwd=ROOT), asked))
    began = told = time.monotonic()
    while any(process.poll() is None for process, _ in running):
        time.sleep(0.2)
        if time.monotonic() - told >= _TOLD_EVERY_S:
            told = time.monotonic()
            done = sum(asked.with_suffix(".out").read_bytes().count(b"\n") for _, asked in running)
            sys.stderr.write(f"  {group}: {done} of {len(jobs)} streams, {told - began:.0f} s\n")
    for process, asked in running:
        if process.returncode:
            raise SystemExit(f"the detectors {group!r} ended with exit code {process.returncode}")
        for line in asked.with_suffix(".out").read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
        asked.unlink()
        asked.with_suffix(".out").unlink()


def kept(group: str) -> Path:
    """Where what a group of peers heard is kept; another file for other streams, peers or Python."""
    rooms = [ROOT / "agent/drift" / f"{name}.py" for name in ("adaptive", "baselines", "descriptors")]
    files = [*rooms, *(Path(__file__).with_name(f"{n}.py") for n in ("changes", "peers", "shapes", "sources"))]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files) + sys.version.encode()).hexdigest()[:12]
    return OUT / f"heard-{group}-{digest}.jsonl"


def remembered(
    group: str, jobs: Sequence[Job], budget_windows: int, processes: int, *, fresh: bool
) -> Iterator[dict[str, Any]]:
    """As `hear`; but peers, which know no budget, hear a stream once, and Trimtab every time."""
    file = kept(group)
    known: dict[Job, str] = {}
    if group != TRIMTAB and not fresh and file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            known[Job(**{name: said[name] for name in Job.__slots__})] = line
    yield from (json.loads(known[job]) for job in jobs if job in known)
    missing = [job for job in jobs if job not in known]
    with file.open("a", encoding="utf-8") if group != TRIMTAB else nullcontext(io.StringIO()) as out:
        for said in hear(group, missing, budget_windows, processes) if missing else ():
            out.write(json.dumps(said) + "\n")
            yield said


def gather(
    jobs: Sequence[Job], budget_windows: int, processes: int, groups: Sequence[str], *, fresh: bool = False
) -> list[Run]:
    """One run a stream, with what every group heard in it."""
    runs: dict[Job, Run] = {
        job: Run(**asdict(job), change_at=None, events={}, cpu_s={}, learned_rows=REFERENCE_ROWS) for job in jobs
    }
    for group in groups:
        mine = [job for job in jobs if group not in HEAVY or _for_heavy(job)]
        began = time.monotonic()
        for said in remembered(group, mine, budget_windows, processes, fresh=fresh):
            job = Job(**{name: said[name] for name in Job.__slots__})
            events = {name: [(row, level) for row, level in found] for name, found in said["events"].items()}
            known = runs[job]
            runs[job] = Run(**asdict(job), change_at=said["change_at"], events=known.events | events,
                            cpu_s=known.cpu_s | said["cpu_s"], learned_rows=said["learned_rows"])  # fmt: skip
        sys.stderr.write(f"{group}: {len(mine)} streams in {time.monotonic() - began:.0f} s\n")
    return list(runs.values())


def _for_heavy(job: Job) -> bool:
    """Independent streams: every changed one, two quiet ones in five."""
    return job.shape == "independent" and (bool(job.change) or job.seed % 20 < 8)


def write(score: Score, said: str, how: str, readme: Path | None) -> None:
    """The table into the README, everything as JSON beside."""
    found = [
        asdict(one) | {"change": change, "shape": shape, "level": score.levels[name], "median": _finite(one.median)}
        for change, shape in score.scenarios()
        for name in score.names
        if (one := score.found(name, change, shape)) is not None
    ]
    false = [
        {"name": name, "shape": shape, "alarms": alarms, "windows": windows}
        for shape in SHAPES
        for name in score.names
        for alarms, windows in [score.false(name, shape, AS_SHIPPED[name])]
        if windows
    ]
    document = {
        "how": how,
        "budget_windows": score.budget_windows,
        "out_of_bounds": broken(score),
        "false_as_shipped": false,
        "found": found,
    }
    (OUT / "scores.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    if readme is None:
        return
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{readme} holds no marks {BEGIN} and {END}: put them where the table belongs")
    head, _, rest = text.partition(BEGIN)
    readme.write_text(f"{head}{BEGIN}\n{how}\n\n{said}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def main() -> None:
    """Arguments, then the whole run."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--budget", type=int, default=500, help="windows of 100 per false alarm (500)")
    parser.add_argument(
        "--streams", type=int, default=200, help="independent quiet streams (200); others in proportion"
    )
    parser.add_argument("--rows", type=int, default=QUIET_ROWS, help=f"records of a quiet stream ({QUIET_ROWS})")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (1)")
    parser.add_argument("--quick", action="store_true", help="20 streams, no heavy peers, README untouched")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), help="groups of detectors; README untouched")
    parser.add_argument("--fresh", action="store_true", help="peers hear again what they have heard before")
    parser.add_argument("--work", choices=list(GROUPS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.budget)
        return
    OUT.mkdir(parents=True, exist_ok=True)
    for name in available():
        source(name)
    groups = given.only or [group for group in GROUPS if not (given.quick and group in HEAVY)]
    jobs = jobs_of(20 if given.quick else given.streams, given.rows)
    score = Score(gather(jobs, given.budget, given.jobs, groups, fresh=given.fresh), given.budget)
    said = tables(score)
    how = (
        f"`python -m tests.scenarios --budget {given.budget} --streams {given.streams}`: {REFERENCE_ROWS:,} records of"
        f" reference, then {given.rows:,} quiet ones, or {CHANGED_ROWS:,} with a change at {BEFORE_ROWS}; texts:"
        f" {', '.join(available())}."
    )
    write(score, said, how, None if given.quick or given.only else README)
    sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
