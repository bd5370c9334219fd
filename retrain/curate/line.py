"""The steps of curation over rows at hand, in their one order (no files, no store).

In: fresh rows (newest first), replay and other rows, what must not be learnt, options. Out: `Curated`.
Must never know: the order's folder, the engine, torch.

The split comes first, so that no later step can move a row across it. Training gives way to validation, validation to
the holdouts: what is examined stays what traffic is.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.intake.patterns import mask
from retrain.curate import caps, clean, conflicts, duplicates, split
from retrain.curate.bench import HOLDOUTS, LEARNT, TRAINING, Bench
from retrain.curate.material import Curated, Material
from retrain.curate.options import Curation
from retrain.curate.rows import UNEXAMINED, Row
from retrain.curate.suspects import Suspects, suspects

UNPROVEN = ("external", "weak", "judge", "teacher")
_LAST = ("weak", "judge", "teacher")


class Line:
    """One run of the steps."""

    def __init__(
        self,
        material: Material,
        options: Curation,
        *,
        max_fresh: int,
        max_replay: int,
        holdout_rows: int,
        contest: bool,
    ) -> None:
        self._in, self._options = material, options
        self._max_fresh, self._max_replay = max_fresh, max_replay
        self._holdout_rows, self._contest = holdout_rows, contest
        self._mask = clean.presidio() if options.pii_engine == "presidio" else mask
        self.bench = Bench(mask if options.pii != "off" else str)
        self._age = {row.id: number for number, row in enumerate([*material.fresh, *material.unlabelled])}
        self._unlabelled: list[Row] = []
        self._marked = False

    def run(self) -> Curated:
        """All steps."""
        for step in (
            self._split, self._contradictions, self._within, self._across, self._normalise, self._filter, self._private,
            self._suspects, self._weak, self._decontaminate, self._caps, self._balance, self._limits,
        ):  # fmt: skip
            step()
        sets = self.bench.sets
        report = {
            "steps": self.bench.steps,
            "old_slice_marked": self._marked,
            "weak": {name: sum(row.weak for row in rows) for name, rows in sets.items()},
            "near_duplicate_jaccard": duplicates.THRESHOLD,
        }
        return Curated(
            train=self.bench.all(TRAINING),
            fresh=sets["holdout_fresh"],
            old=sets["holdout_old"],
            validation=sets["validation"],
            report=report,
        )

    def _split(self) -> None:
        """Sides by stable hash (or time); what rests on a machine's word is never examined."""
        given, sets, options = self._in, self.bench.sets, self._options
        share = split.share_for(len(given.fresh), self._holdout_rows, options.test_share)
        if options.split_by == "time":
            train, held = split.newest(given.fresh, share)
        else:
            train, held = split.split(given.fresh, share)
        sides = {row.group for row in held}
        sets["fresh_train"] = train
        sets["holdout_fresh"] = [row for row in held if row.source not in UNEXAMINED]
        silent = len(held) - len(sets["holdout_fresh"])
        sets["replay_train"], sets["holdout_old"], self._marked = self._replay_sides()
        sets["extra_train"] = list(given.extra)
        self._set_aside()
        self._unlabelled = [row for row in given.unlabelled if row.group not in sides and not split.held(row, share)]
        across = self._keep_apart(held)
        self.bench.note(
            "split",
            says=f"fresh test share {share:.2f} by {options.split_by}; {silent} rows whose label is a machine's word "
            f"are not examined, {across} rows of an examined conversation or user are not learnt",
            test_share=round(share, 4),
        )

    def _keep_apart(self, held: Sequence[Row]) -> int:
        """No conversation, and by hash no user, on two sides: training gives way to validation, it to the holdouts.

        Which users are in the old slice is the owner's word where he marked it. Returns how many rows gave way.
        """
        sets, by_hash = self.bench.sets, self._options.split_by == "hash"
        old = sets["holdout_old"]
        talks = split.talks([*held, *old, *self._in.fixed])
        people = split.people([*held, *(() if self._marked else old)]) if by_hash else set()
        before = sum(len(sets[name]) for name in LEARNT)
        sets["validation"] = split.apart(sets["validation"], talks, people)
        talks |= split.talks(sets["validation"])
        people |= split.people(sets["validation"])
        for name in TRAINING:
            sets[name] = split.apart(sets[name], talks, people)
        self._unlabelled = split.apart(self._unlabelled, talks, people)
        return before - sum(len(sets[name]) for name in LEARNT)

    def _replay_sides(self) -> tuple[list[Row], list[Row], bool]:
        """(train, holdout, marked).

        Rows marked "holdout" are those that the champion never saw; without any mark the split is by hash, and the
        champion may know the old slice: that makes the gate harder to pass, not easier.
        """
        held = [row for row, mark in self._in.replay if mark == "holdout"]
        rest = [row for row, mark in self._in.replay if mark != "holdout"]
        if held or not self._contest:
            return rest, held, bool(held)
        share = split.share_for(len(rest), self._holdout_rows, self._options.test_share)
        return *split.split(rest, share), False

    def _set_aside(self) -> None:
        """Validation rows from the far end of the same hash, when there are enough to learn from."""
        sets, options = self.bench.sets, self._options
        learnt = min(len(sets["fresh_train"]), self._max_fresh) + min(len(sets["replay_train"]), self._max_replay)
        if learnt + len(sets["extra_train"]) < options.validation_min_rows:
            return
        for name in ("fresh_train", "replay_train"):
            stay, aside = split.far(sets[name], options.validation_share)
            sets[name] = stay
            keep = (self._max_fresh if name == "fresh_train" else self._max_replay) * options.validation_share
            sets["validation"] += split.choose(aside, max(1, round(keep)))

    def _contradictions(self) -> None:
        kept, dropped = conflicts.settle(self.bench.all((*HOLDOUTS, *LEARNT)))
        winners = {row.key: row.answer for row in kept}
        self.bench.drop(dropped)
        why = [(row, f"{row.answer} (elsewhere: {winners.get(row.key, 'people disagree')})") for row in dropped]
        self.bench.note("contradictory labels", why, says="the same question with two answers: the more trusted stays")

    def _within(self) -> None:
        sets = self.bench.sets
        pairs: list[tuple[Row, Row]] = []
        for name, rows in sets.items():
            trusted = sorted(rows, key=lambda row: -row.trust) if name in TRAINING[::2] else rows
            sets[name], found = duplicates.within(trusted)
            pairs += found
        self._unlabelled, found = duplicates.within(self._unlabelled)
        self.bench.note("duplicates within", _twins(pairs), says="exact and near duplicates in one set")
        for name in HOLDOUTS:
            sets[name] = split.choose(sets[name], self._holdout_rows)
        self.bench.note("holdout chosen", says=f"at most {self._holdout_rows} rows a slice, always the same ones")

    def _across(self) -> None:
        sets, pairs = self.bench.sets, []
        stand = self.bench.all(HOLDOUTS)
        for name in ("validation", "fresh_train", "replay_train", "extra_train"):
            sets[name], found = duplicates.across(sets[name], stand)
            stand = [*stand, *sets[name]]
            pairs += found
        self.bench.note(
            "duplicates across", _twins(pairs), says="training gives way to validation, validation to the holdouts"
        )

    def _normalise(self) -> None:
        changed = self.bench.each(clean.normalised)
        self._unlabelled = [clean.normalised(row) for row in self._unlabelled]
        examples = [(repr(one.prompt), repr(two.prompt)) for one, two in changed]
        says = "NFC, line ends, no invisible or control characters"
        self.bench.note("normalisation", says=says, examples=examples, changed=len(changed))

    def _filter(self) -> None:
        options = self._options

        def why(row: Row) -> str | None:
            return clean.misfit(row, least=options.min_chars, most=options.max_chars, languages=options.languages)

        def empty(row: Row) -> str | None:
            return None if row.answer else "empty answer"

        dropped = [(row, reason) for row in self.bench.all() if (reason := empty(row) or why(row))]
        self.bench.drop([row for row, _ in dropped])
        self._unlabelled = [row for row in self._unlabelled if why(row) is None]
        self.bench.note("length and language", dropped, says=f"languages kept: {', '.join(options.languages) or 'all'}")

    def _private(self) -> None:
        mode = self._options.pii
        if mode == "off":
            return
        changed = self.bench.each(lambda row: clean.masked(row, self._mask))
        self._unlabelled = [clean.masked(row, self._mask) for row in self._unlabelled]
        gone = [after for _, after in changed] if mode == "drop" else []
        self.bench.drop(gone)
        examples = [(after.prompt, after.answer) for _, after in changed]
        says = "private data and secrets are " + ("masked" if mode == "mask" else "masked, and their rows left out")
        why = [(row, "private data") for row in gone]
        self.bench.note("private data", why, says=says, examples=examples, changed=len(changed))

    def _suspects(self) -> None:
        options = self._options
        if options.label_errors == "off" and options.outliers == "off":
            return
        rows, seen = self.bench.all(TRAINING), self.bench.all((*HOLDOUTS, "validation"))
        found = suspects(rows, least=options.label_rows, outliers=options.outliers != "off", examined=seen)
        if options.label_errors != "off":
            self._wrong_labels(rows, found)
            self._doubted_labels(seen, found)
        gone = [(rows[n], "unlike all others") for n in found.outliers] if options.outliers == "drop" else []
        self.bench.drop([row for row, _ in gone], TRAINING)
        told = [(rows[n].prompt, rows[n].answer) for n in found.outliers]
        self.bench.note("outliers", gone, examples=told, suspected=len(found.outliers), says="far from all others")

    def _wrong_labels(self, rows: Sequence[Row], found: Suspects) -> None:
        rule = self._options.label_errors
        may = {"unproven": UNPROVEN, "drop": ("replay", "labeller", *UNPROVEN)}.get(rule, ())
        said = {n: f"{rows[n].answer} (looks like {other})" for n, other in found.wrong.items()}
        gone = [(rows[n], words) for n, words in said.items() if rows[n].source in may]
        self.bench.drop([row for row, _ in gone], TRAINING)
        self.bench.note(
            "label errors", gone, examples=[(rows[n].prompt, words) for n, words in said.items()],
            suspected=len(found.wrong), checked=found.checked, labels=found.labels, ids=[row.id for row, _ in gone],
            says=f"{len(found.wrong)} of {found.checked} labels look wrong to a model that never saw them; "
            f"dropped by the rule {rule!r}",
        )  # fmt: skip

    def _doubted_labels(self, rows: Sequence[Row], found: Suspects) -> None:
        """The examination's own labels: told, never dropped, for a model must not choose what it is examined on."""
        said = [(rows[n], f"{rows[n].answer} (looks like {other})") for n, other in found.doubted.items()]
        self.bench.note(
            "examined labels", examples=[(row.prompt, words) for row, words in said], suspected=len(said),
            checked=found.examined, ids=[row.id for row, _ in said],
            says=f"{len(said)} of {found.examined} labels of test and validation rows look wrong; all of them stay",
        )  # fmt: skip

    def _weak(self) -> None:
        """Training rows without a label get one, from each that offers it in turn; the rest is left out."""
        for name, act in self._in.labellers:
            made, facts = act(self._unlabelled)
            made = [clean.normalised(row) for row in made]
            made = [clean.masked(row, self._mask) if self._options.pii != "off" else row for row in made]
            made = [row for row in made if row.answer and self._in.wrong.get(row.id) != row.answer]
            done = {row.id for row in made}
            self._unlabelled = [row for row in self._unlabelled if row.id not in done]
            self.bench.sets["fresh_train"] += made
            examples = [(row.prompt, row.answer) for row in made]
            self.bench.note(name, says=f"{len(made)} rows labelled", examples=examples, labelled=len(made), facts=facts)

    def _decontaminate(self) -> None:
        """Once more against everything examined, now that texts and labels are final, whatever the answer."""
        stand = [*self.bench.all(HOLDOUTS), *self._in.fixed]
        asked = {row.key: row for row in stand}
        index = duplicates.index(stand)
        gone = [(row, twin) for row in self.bench.all(LEARNT) if (twin := asked.get(row.key) or index.twin(row))]
        self.bench.drop([row for row, _ in gone], LEARNT)
        says = f"against {len(stand)} examined rows, {len(self._in.fixed)} of them of other holdouts"
        self.bench.note("decontamination", _twins(gone), says=says)

    def _caps(self) -> None:
        sets, options = self.bench.sets, self._options
        sets["fresh_train"].sort(key=lambda row: self._age.get(row.id, 0))
        ranked = sorted(sets["fresh_train"], key=lambda row: row.source in _LAST)
        ranked, gone = caps.by_source(ranked, options.source_shares, free=options.user_rows)
        self.bench.drop(gone, ("fresh_train",))
        self.bench.note("cap per source", [(row, row.source) for row in gone])
        _, gone = caps.by_user(ranked, share=options.user_share, free=options.user_rows)
        self.bench.drop(gone, ("fresh_train",))
        for name in ("replay_train", "extra_train"):
            sets[name], more = caps.by_user(sets[name], share=options.user_share, free=options.user_rows)
            gone += more
        self.bench.note("cap per user", [(row, str(row.user)) for row in gone])

    def _balance(self) -> None:
        options = self._options
        rows = self.bench.all(TRAINING)
        _, gone = caps.by_label(rows, options.balance, least=options.label_rows)
        self.bench.drop(gone, TRAINING)
        self.bench.note("balance", [(row, row.answer) for row in gone])

    def _limits(self) -> None:
        """The newest fresh rows, machines' words last; a stable choice of the replay rows."""
        sets = self.bench.sets
        ranked = sorted(sets["fresh_train"], key=lambda row: row.source in _LAST)
        stay = {id(row) for row in ranked[: self._max_fresh]}
        sets["fresh_train"] = [row for row in sets["fresh_train"] if id(row) in stay]
        sets["replay_train"] = split.choose(sets["replay_train"], self._max_replay)
        self.bench.note("row limits")


def _twins(pairs: Sequence[tuple[Row, Row]]) -> list[tuple[Row, str]]:
    return [(one, two.prompt) for one, two in pairs]
