"""A real browser must be content with the page."""

from __future__ import annotations

import re
import subprocess
import threading
from typing import TYPE_CHECKING

import uvicorn

from agent.store import Store
from agent.web.api import create_app
from agent.web.page import REFRESH_S
from tests.estate import story
from tests.needs import need

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = "sudo apt-get install -y --no-install-recommends chromium"
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def test_the_page_renews_itself_under_its_own_policy(tmp_path: Path) -> None:
    """After a few seconds the browser must show what has happened since, without a complaint of its policy."""
    chromium = need("chromium", COMMAND)
    store = Store.at(tmp_path)
    story.tell(store)
    looks = []

    def live() -> dict[str, str]:
        looks.append(1)
        return {"look": f"number-{len(looks)}"}

    app = create_app(
        store,
        "home",
        redact=str,
        render_metrics=bytes,
        feedback=lambda **_: None,
        live=live,
        reports=tmp_path,
        now=lambda: story.at(story.ROWS),
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    sock = server.config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        ran = subprocess.run(
            [
                chromium,
                *QUIET,
                f"--user-data-dir={tmp_path / 'chromium'}",
                "--enable-logging=stderr",
                f"--virtual-time-budget={(REFRESH_S + 2) * 1000}",
                "--dump-dom",
                f"http://127.0.0.1:{sock.getsockname()[1]}/",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        sock.close()
        store.close()
    shown = re.search(r"look number-(\d+)", ran.stdout)
    assert shown is not None
    assert int(shown[1]) >= 2  # perhaps not the last one: a slow machine's answer may come after the last look
    assert 'class="stale"' not in ran.stdout
    assert "Content Security Policy" not in ran.stderr
