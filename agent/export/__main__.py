"""`python -m agent.export` writes the metric reference into this room's README."""

from __future__ import annotations

from pathlib import Path

from agent.export.table import reference

BEGIN, END = "<!-- metrics -->\n", "<!-- /metrics -->"


def main() -> None:
    """Replace the table between the two marks."""
    readme = Path(__file__).with_name("README.md")
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    readme.write_text(before + BEGIN + reference() + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
