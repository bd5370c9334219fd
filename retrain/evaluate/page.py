"""A contest as one HTML page: no script, no request to anybody, every text escaped (pure).

In: a report. Out: a page. Must never know: files, the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from agent.types import Check
from retrain.evaluate import show

WORDS = {True: "holds", False: "fails", None: "open"}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --open: #9a6700; --soft: #8881 }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #ff7b72; --open: #d29922 } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
th { font-weight: 600; white-space: nowrap } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
td.text { white-space: pre-wrap; overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: 13px }
.holds, .right { color: var(--good) } .fails, .wrong { color: var(--bad) } .open { color: var(--open) }
.holds, .fails, .open { font-weight: 600 } .verdict { font-size: 1.15rem; margin: .3rem 0 1rem }
tr.first td { border-top: 2px solid var(--line) } .bar { position: relative; height: 1.2rem; min-width: 11rem }
.bar i { position: absolute; top: .45rem; height: .3rem; border-radius: .2rem; background: currentColor; opacity: .5 }
.bar b { position: absolute; top: .2rem; width: .2rem; height: .8rem; background: currentColor }
.bar u { position: absolute; top: 0; width: 1px; height: 1.2rem; background: var(--line) }
.bar s { position: absolute; top: .1rem; width: 0; height: 1rem; border-left: 2px dotted var(--open) }
p.note { opacity: .75; margin: .2rem 0 }
"""


def page(report: show.Report) -> str:
    """The whole page."""
    return "".join(_page(report))


def _page(report: show.Report) -> Iterator[str]:
    title = f"Contest of order {report.order}"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
    names = ", ".join(f"{role}: {name}" for role, name in report.names.items())
    yield f"<p>{escape(names)}; {report.answers} answers</p>"
    yield from _gate(report)
    yield from _figures(report)
    for change in (show.WORSE, show.BETTER):
        yield from _examples(report, change)
    yield "</body></html>\n"


def _gate(report: show.Report) -> Iterator[str]:
    if report.verdict is None:
        yield '<p class="verdict open">no verdict yet</p>'
        return
    kind = report.verdict.kind.value
    mark = {"accepted": "holds", "rejected": "fails"}.get(kind, "open")
    yield f'<p class="verdict">Verdict: <span class="{mark}">{escape(kind.replace("_", " "))}</span></p>'
    yield '<div class="scroll"><table>'
    yield "<tr><th>check</th><th></th><th>difference, interval, bound (dotted)</th><th>what was found</th>"
    yield '<th class="n">n</th></tr>'
    for check in report.verdict.checks:
        word = WORDS[check.passed]
        yield f'<tr><td>{escape(check.name)}</td><td class="{word}">{word}</td><td>{_bar(check)}</td>'
        yield f'<td>{escape(check.says)}</td><td class="n">{check.n}</td></tr>'
    yield "</table></div>"


def _bar(check: Check) -> str:
    """The interval on a line that reaches from a loss of half to a gain of half; only for differences."""
    if check.n == 0 or check.bound >= 1 or not -1 <= check.low <= check.estimate <= check.high <= 1:
        return ""
    low, point, high, bound = (
        min(100.0, max(0.0, 50 + 100 * value)) for value in (check.low, check.estimate, check.high, check.bound)
    )
    return (
        f'<div class="bar {WORDS[check.passed]}"><u style="left:50%"></u><s style="left:{bound:.1f}%"></s>'
        f'<i style="left:{low:.1f}%;width:{high - low:.1f}%"></i><b style="left:{point:.1f}%"></b></div>'
    )


def _figures(report: show.Report) -> Iterator[str]:
    if report.metrics is None:
        return
    titles = [*(title for _, title in show.COLUMNS), "perplexity"]
    yield '<h2>Figures</h2><div class="scroll"><table><tr><th>slice</th><th>who</th>'
    yield "".join(f'<th class="n">{escape(title)}</th>' for title in titles) + "</tr>"
    before = None
    for name, role, values in report.rows():
        yield f"<tr{'' if name == before else ' class=first'}><td>{escape(name)}</td><td>{escape(role)}</td>"
        yield "".join(f'<td class="n">{show.figure(value)}</td>' for value in values) + "</tr>"
        before = name
    yield "</table></div>"
    for line in show.judge_lines(report.metrics):
        yield f'<p class="note">{escape(line)}</p>'


def _examples(report: show.Report, change: str) -> Iterator[str]:
    found = report.of(change)
    yield f"<h2>{show.counted(len(found))} got {change}</h2>"
    if not found:
        return
    roles = list(found[0].answers)
    yield '<div class="scroll"><table><tr><th>slice</th><th>prompt</th><th>right answer</th>'
    yield "".join(f"<th>{escape(role)}</th>" for role in roles) + "</tr>"
    for example in found:
        yield f"<tr><td>{escape(example.slice)}</td>"
        yield f'<td class="text">{escape(example.prompt)}</td><td class="text">{escape(show.expected(example))}</td>'
        for role in roles:
            mark = _mark(role, change)
            yield f'<td class="text{mark}">{escape(example.answers.get(role, ""))}</td>'
        yield "</tr>"
    yield "</table></div>"


def _mark(role: str, change: str) -> str:
    if role == "base":
        return ""
    return " right" if (role == "challenger") == (change == show.BETTER) else " wrong"
