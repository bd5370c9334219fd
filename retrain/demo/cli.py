"""`trimtab demo`: prepares once, runs the loop, shows what it came to.

Lives here: the order of things and the exit code.
Comes in: options. Goes out: a live timeline, `summary.json`, `chart.png`, `chart.html`; exit 0 only if the loop closed.
Must never know: what happens inside a stage.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from retrain.demo import chart, summary
from retrain.demo.estate import Estate
from retrain.demo.loop import Loop
from retrain.demo.story import Pace
from retrain.demo.timeline import Timeline
from serving.errors import TrimtabError

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    home: Annotated[Path, typer.Option(help="Where the run's state and results go; emptied first.")] = Path(
        ".trimtab/demo"
    ),
    cache: Annotated[Path, typer.Option(help="Where the model and the adapters are kept between runs.")] = Path(
        ".trimtab/cache"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
) -> None:
    """See the whole loop once: a model goes off course, Trimtab notices, retrains, proves, swaps, recovers."""
    console = Console()

    def whole() -> bool:
        from retrain.demo.prepare import prepare

        began = time.monotonic()
        estate = prepare(cache.resolve(), console)
        return run(estate, Pace(), home, console, keep=keep, prepared_s=time.monotonic() - began)

    guarded(whole, console)


def guarded(whole: Callable[[], bool], console: Console) -> NoReturn:
    """Run the demo and leave with its exit code: 0 closed, 1 not closed, 130 Ctrl-C, 143 SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(0 if whole() else 1)
    except TrimtabError as error:
        console.print(f"[red]{escape(str(error))}[/]", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("stopped; everything that was started has ended")
        sys.exit(130)


def run(
    estate: Estate, pace: Pace, home: Path, console: Console, *, keep: bool = False, prepared_s: float = 0.0
) -> bool:
    """One run of the loop in an empty `home`; True when it closed. Results stay in `home`."""
    home = home.resolve()
    if home.exists():
        shutil.rmtree(home)
    timeline = Timeline(console)
    with Loop(estate, pace, home, timeline) as loop:
        try:
            loop.run()
        finally:
            timeline.close()
        loop.traffic.stop()
        document = summary.summarise(loop, timeline.seconds, prepared_s)
        broken = summary.broken_promises(document)
        document |= {"closed": not broken, "broken_promises": broken}
        summary.write(home / "summary.json", document)
        png, page = chart.draw(picture(loop, document), home)
        console.print(summary.tables(document))
        console.print(f"summary: {home / 'summary.json'}\nchart:   {png}\n         {page}", highlight=False)
        for promise in broken:
            console.print(f"[red]not closed: {promise}[/]")
        if not broken:
            console.print("[bold green]The loop closed.[/]")
        if keep:
            console.print(f"vLLM: {loop.engine_url}/v1   agent: {loop.agent_url}   (Ctrl-C ends both)")
            while True:
                loop.family.check()
                time.sleep(1)
    return not broken


def picture(loop: Loop, document: dict[str, Any]) -> dict[str, Any]:
    """What the chart shows of a finished loop."""
    story = loop.story
    answers = sorted((a.number, a.version, a.right) for a in loop.traffic.answered if not a.error)
    alarm = (story.first_alarm or {}).get("exchange_rowid")
    return {
        "evidence": story.evidence,
        "quality": story.quality,
        "answers": answers,
        "change": story.change_rowid,
        "alarm": alarm,
        "summary": document,
    }


if __name__ == "__main__":
    app()
