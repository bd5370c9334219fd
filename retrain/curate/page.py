"""data.html: what was learnt, what was left out and why, and how far it is from live traffic (pure).

In: the report of curation. Out: one page without scripts, fonts or network. Must never know: files, rows.
Every text from outside is escaped, and the page's policy lets nothing run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from retrain.curate.plots import LIVE, TRAIN, bars, histogram, waterfall

STYLE = """
:root{color-scheme:light dark;--ink:#1f2933;--quiet:#64748b;--line:#d9e0e7;--paper:#fff;--warn:#b45309}
@media(prefers-color-scheme:dark){:root{--ink:#e5e9ee;--quiet:#94a3b8;--line:#334155;--paper:#10161d;--warn:#f59e0b}}
*{box-sizing:border-box}body{margin:0 auto;max-width:64rem;padding:2rem 1.2rem 4rem;background:var(--paper);
color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}
h3{font-size:.95rem;margin:1.2rem 0 .3rem}p{margin:.3rem 0}.quiet{color:var(--quiet)}
.warn{border-left:3px solid var(--warn);
padding:.15rem .7rem;margin:.4rem 0}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.28rem .6rem .28rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--quiet)}td.n,th.n{text-align:right}td.text{overflow-wrap:anywhere;white-space:pre-wrap}
details{border-bottom:1px solid var(--line);padding:.35rem 0}summary{cursor:pointer}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--ink);font:12px system-ui,sans-serif}svg .quiet{fill:var(--quiet)}svg .axis{stroke:var(--line)}
.cards{display:flex;flex-wrap:wrap;gap:.7rem 2rem;margin:1rem 0}.cards b{display:block;font-size:1.4rem}
.wide{overflow-x:auto}.key i{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1em}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
SETS = {
    "fresh_train": "fresh", "replay_train": "replay", "extra_train": "external", "validation": "validation",
    "holdout_fresh": "fresh test", "holdout_old": "old test",
}  # fmt: skip


def render(report: Mapping[str, Any]) -> str:
    """The page as HTML text."""
    steps = report["steps"]
    last = steps[-1]
    title = f"Data of order {escape(str(report.get('order', '')))}"
    parts = [
        f"<h1>{title}</h1>",
        _cards({SETS[name]: last[name] for name in SETS}),
        *(f'<p class="warn">{escape(text)}</p>' for text in report.get("warnings", ())),
        "<h2>What was left out, and why</h2>",
        waterfall([(step["step"], step["dropped"]) for step in steps if step["dropped"]]),
        *(_step(step) for step in steps),
        "<h2>Rows in each set after each step</h2>",
        _sets(steps),
        "<h2>Where labels come from</h2>",
        _pairs(report.get("sources", {})),
        *_teacher(report.get("teacher")),
        "<h2>Commonest answers learnt</h2>",
        bars([(str(k), float(v)) for k, v in report.get("labels", {}).items()]),
        "<h2>What is learnt against what is asked</h2>",
        *_live(report.get("live") or {}),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _cards(values: Mapping[str, int]) -> str:
    cells = "".join(f"<div><b>{value:,}</b>{escape(name)}</div>" for name, value in values.items())
    return f'<div class="cards">{cells}</div>'


def _step(step: Mapping[str, Any]) -> str:
    """One line a step; its examples open below it."""
    counts = [f"{step['dropped']:,} left out"] if step["dropped"] else []
    counts += [f"{step[key]:,} {key}" for key in ("changed", "suspected", "labelled") if step.get(key)]
    head = f"<b>{escape(step['step'])}</b> {escape(', '.join(counts) or 'nothing left out')}"
    says = f' <span class="quiet">{escape(step["says"])}</span>' if step["says"] else ""
    rows = "".join(
        f'<tr><td class="text">{escape(one)}</td><td class="text">{escape(two)}</td></tr>'
        for one, two in step["examples"]
    )
    if not rows:
        return f"<details><summary>{head}{says}</summary></details>"
    by = ", ".join(f"{name} {count}" for name, count in step["by_source"].items())
    table = f"<table><tr><th>row</th><th>why, or what it repeats</th></tr>{rows}</table>"
    return f"<details><summary>{head}{says}</summary><p class=quiet>{escape(by)}</p>{table}</details>"


def _sets(steps: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f'<th class="n">{escape(label)}</th>' for label in SETS.values())
    body = "".join(
        f"<tr><td>{escape(step['step'])}</td>"
        + "".join(f'<td class="n">{step[name]:,}</td>' for name in SETS)
        + "</tr>"
        for step in steps
    )
    return f'<div class="wide"><table><tr><th>after</th>{head}</tr>{body}</table></div>'


def _pairs(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><td>{escape(str(name)).replace("_", " ")}</td><td class="n">{escape(f"{value:,}")}</td></tr>'
        for name, value in values.items()
    )
    return f"<table>{rows}</table>" if rows else "<p class=quiet>nothing</p>"


def _teacher(teacher: Mapping[str, str] | None) -> list[str]:
    if not teacher:
        return []
    return [f"<p>Teacher {escape(teacher['model'])}; licence of its outputs: {escape(teacher['licence'])}</p>"]


def _live(live: Mapping[str, Any]) -> list[str]:
    if not live:
        return ["<p class=quiet>Not compared: fewer than 30 rows on one side.</p>"]
    length, rows = live["length"], live["rows"]
    key = (
        f'<p class="key"><i style="background:{TRAIN}"></i>learnt ({rows["train"]:,})'
        f'<i style="background:{LIVE}"></i>live ({rows["live"]:,})</p>'
    )
    words = " · ".join(
        f"{escape(side)}: {escape(', '.join(live['words'][name])) or 'none'}"
        for side, name in (("more in what is learnt", "train"), ("more in live traffic", "live"))
    )
    parts = [
        key,
        f"<h3>Prompt length in characters (Kolmogorov-Smirnov distance {length['ks']:.2f})</h3>",
        histogram(length["edges"], length["train"], length["live"]),
        f"<h3>Topic: a model tells the two apart with an AUC of {live['topic_auc']:.2f} (0.5: it cannot)</h3>",
        f"<p class=quiet>{words}</p>",
    ]
    for name in ("language", "label"):
        found = live[name]
        kinds = f"{found['kinds']['train']:,} kinds learnt, {found['kinds']['live']:,} live"
        parts.append(f"<h3>{name.capitalize()} (total variation distance {found['distance']:.2f}; {kinds})</h3>")
        parts.append(bars([(text, ours) for text, ours, _ in found["top"]], [theirs for *_, theirs in found["top"]]))
    return parts
