"""How many planted faults curation catches, and what it costs: `python -m tests.retrain.curate.measure 10000`.

In: the desk of `desk.py`. Out: counts. Must never know: in which step a fault is caught.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from retrain.curate import split
from retrain.curate.curate import curate_rows
from retrain.curate.material import Curated
from retrain.curate.options import Curation
from tests.retrain.curate.desk import LOUD, SECRETS, Desk, desk

OPTIONS = Curation(label_errors="drop")


@dataclass(frozen=True, kw_only=True)
class Caught:
    """Caught and planted of each kind. Wrong labels that are learnt are dropped, examined ones are told and stay.

    Of the copies that are left, `copies_relabelled` have another label than their twin (a planted wrong one).
    """

    wrong_labels: tuple[int, int]
    right_labels_dropped: tuple[int, int]
    wrong_examined_told: tuple[int, int]
    right_examined_told: tuple[int, int]
    copies: tuple[int, int]
    copies_relabelled: int
    secrets: tuple[int, int]
    loud_share_before: float
    loud_share_after: float

    @property
    def says(self) -> str:
        """A line a kind of fault, for people."""
        return "\n".join(
            [
                _of("wrong labels, learnt: dropped", self.wrong_labels),
                _of("right labels dropped with them", self.right_labels_dropped),
                _of("wrong labels, examined: told", self.wrong_examined_told),
                _of("right labels told with them", self.right_examined_told),
                _of("near duplicates across the split: removed", self.copies)
                + f" ({self.copies_relabelled} of the rest carry another label than their twin)",
                _of("secrets: masked", self.secrets),
                f"one user's share of the rows: {self.loud_share_before:.0%} before, {self.loud_share_after:.0%} after",
            ]
        )


def _of(what: str, counts: tuple[int, int]) -> str:
    return f"{what} {counts[0]} of {counts[1]}"


def planted(size: int, seed: int = 0) -> Desk:
    """A desk whose copies lie across the split."""
    share = split.share_for(size, size // 10)
    position = {user: split.position(f"user:{user}", split.SALT) for user in [f"u{n}" for n in range(400)]}
    return desk(size, lambda user: position.get(user, 1.0) < share, seed=seed)


def curated(made: Desk, options: Curation = OPTIONS) -> Curated:
    """The desk's rows through all steps, without row limits."""
    size = len(made.rows)
    return curate_rows(made.rows, [], max_fresh=size, max_replay=0, holdout_rows=size // 10, options=options)


def caught(made: Desk, result: Curated) -> Caught:
    """What of the planted is gone."""
    steps = {step["step"]: step for step in result.report["steps"]}
    gone, told = set(steps["label errors"]["ids"]), set(steps["examined labels"]["ids"])
    seen = {row.id for row in [*result.fresh, *result.validation]}
    learnt = {row.id for row in curated(made, Curation(label_errors="off", outliers="off", user_share=1)).train}
    answers = {row.id: row.answer for row in made.rows}
    train, test = ({row.id for row in rows} for rows in (result.train, result.fresh))
    left = [(copy, twin) for copy, twin in made.copies.items() if copy in train and twin in test]
    texts = "\n".join(row.prompt for row in [*result.train, *result.validation, *result.fresh])
    return Caught(
        wrong_labels=(len(gone & made.wrong), len(learnt & made.wrong)),
        right_labels_dropped=(len(gone - made.wrong), len(learnt - made.wrong)),
        wrong_examined_told=(len(told & made.wrong), len(seen & made.wrong)),
        right_examined_told=(len(told - made.wrong), len(seen - made.wrong)),
        copies=(len(made.copies) - len(left), len(made.copies)),
        copies_relabelled=sum(answers[copy] != answers[twin] for copy, twin in left),
        secrets=(sum(secret.split()[-1] not in texts for secret in SECRETS), len(SECRETS)),
        loud_share_before=round(sum(row.user == LOUD for row in made.rows) / len(made.rows), 3),
        loud_share_after=round(sum(row.user == LOUD for row in result.train) / len(result.train), 3),
    )


def main() -> None:
    """Print counts, CPU seconds and rows a second of CPU."""
    made = planted(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    began, cpu = time.perf_counter(), time.process_time()
    result = curated(made)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    sys.stdout.write(
        f"{len(made.rows)} rows: {cpu:.1f} s CPU, {wall:.1f} s, {len(made.rows) / cpu:.0f} rows/s of CPU\n"
    )
    sys.stdout.write(caught(made, result).says + "\n")


if __name__ == "__main__":
    main()
