"""The picture of the story: drift evidence, quality with its band, and who answered, over exchanges.

Lives here: one figure as PNG and as a page that needs no network.
Comes in: a summary and the two series of the agent. Goes out: `chart.png`, `chart.html`.
Must never know: where the numbers came from.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

INK, QUIET, ALARM = "#1f2933", "#9aa5b1", "#c2410c"
COLOURS = ("#2563eb", "#059669", "#7c3aed", "#b45309")


def draw(story: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Draw `story` (keys: evidence, quality, answers, change, alarm, summary); returns (png, html)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    versions = list(dict.fromkeys(version for _, version, _ in story["answers"]))
    colour = dict(zip(versions, COLOURS, strict=False))
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, sharex=True, figsize=(11, 8), height_ratios=(3, 4, 1.4), layout="constrained"
    )
    _evidence(top, story)
    _quality(middle, story, colour)
    _answers(bottom, story, colour)
    for axes in (top, middle, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.axvline(story["change"], color=QUIET, linewidth=1, linestyle=":")
    top.set_title("Trimtab: drift noticed, model retrained, quality back", loc="left", color=INK, fontsize=13)
    bottom.set_xlabel("exchange")
    png, page = folder / "chart.png", folder / "chart.html"
    figure.savefig(png, dpi=130)
    plt.close(figure)
    page.write_text(_page(png, story["summary"]), encoding="utf-8")
    return png, page


def _evidence(axes: Any, story: dict[str, Any]) -> None:
    points = story["evidence"]
    for version in dict.fromkeys(p["version"] for p in points):
        mine = [p for p in points if p["version"] == version]
        axes.plot([p["rowid"] for p in mine], [p["evidence"] for p in mine], color=INK, linewidth=1.4)
    if points and points[0]["threshold"] is not None:
        axes.axhline(points[0]["threshold"], color=ALARM, linewidth=1, linestyle="--")
        axes.annotate("alarm", (1.0, points[0]["threshold"]), xycoords=("axes fraction", "data"), color=ALARM,
                      ha="right", va="bottom", fontsize=9)  # fmt: skip
    if story["alarm"] is not None:
        axes.axvline(story["alarm"], color=ALARM, linewidth=1.2)
    axes.annotate(
        "new features\nare asked for",
        (story["change"], 0.55),
        xycoords=("data", "axes fraction"),
        xytext=(-5, 0),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        color=QUIET,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    axes.set_ylabel("drift evidence\n(log10)")


def _quality(axes: Any, story: dict[str, Any], colour: dict[str, str]) -> None:
    for version in dict.fromkeys(p["version"] for p in story["quality"]):
        mine = [p for p in story["quality"] if p["version"] == version]
        at, hue = [p["rowid"] for p in mine], colour.get(version, INK)
        low, high = [p["low"] for p in mine], [p["high"] for p in mine]
        axes.fill_between(at, low, high, color=hue, alpha=0.18, linewidth=0)
        axes.plot(at, [p["value"] for p in mine], color=hue, label=f"{version}, measured (95 %)")
    for version, hue in colour.items():
        at, exact = _rolling([(n, right) for n, v, right in story["answers"] if v == version])
        axes.plot(at, exact, color=hue, linewidth=0.9, linestyle=(0, (1, 1.5)), label=f"{version}, exact (last 60)")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("quality")
    axes.legend(loc="lower left", fontsize=8, frameon=False, ncols=2)


def _answers(axes: Any, story: dict[str, Any], colour: dict[str, str]) -> None:
    for row, (version, hue) in enumerate(colour.items()):
        at = [n for n, v, _ in story["answers"] if v == version]
        axes.scatter(at, [row] * len(at), marker="|", s=40, linewidth=0.5, color=hue)
    axes.set_yticks(range(len(colour)), list(colour))
    axes.set_ylim(-0.6, len(colour) - 0.4)
    axes.set_ylabel("answered by")


def _rolling(points: list[tuple[int, bool]], width: int = 60) -> tuple[list[int], list[float]]:
    at, share = [], []
    for i in range(min(width, len(points)) // 2, len(points)):
        chunk = points[max(0, i - width + 1) : i + 1]
        at.append(points[i][0])
        share.append(sum(right for _, right in chunk) / len(chunk))
    return at, share


def _page(png: Path, summary: dict[str, Any]) -> str:
    picture = base64.b64encode(png.read_bytes()).decode()
    text = html.escape(json.dumps(summary, indent=2))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trimtab demo</title>
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: {INK}; }}
 img {{ width: 100%; height: auto; }}
 pre {{ overflow-x: auto; background: #f5f7fa; padding: 1rem; font-size: 13px; }}
</style>
<h1>The loop, as it ran</h1>
<img alt="Drift evidence, quality and answering version over exchanges" src="data:image/png;base64,{picture}">
<details><summary>All numbers (summary.json)</summary><pre>{text}</pre></details>
</html>
"""
