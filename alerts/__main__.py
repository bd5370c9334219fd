"""`python -m alerts` copies the rules into the chart, which cannot read outside its own folder."""

from __future__ import annotations

from pathlib import Path

RULES = Path(__file__).with_name("trimtab.rules.yaml")
CHART = RULES.parents[1] / "helm" / "trimtab" / "files" / "trimtab.rules.yaml"


def main() -> None:
    """Copy them."""
    CHART.parent.mkdir(parents=True, exist_ok=True)
    CHART.write_text(RULES.read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    main()
