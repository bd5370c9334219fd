"""A small HTTP server that stands in for a judge.

Lives here: `FakeVllm`, which renders, tokenises (one token a character) and scores like vLLM does, and `scripted`,
which answers what a test wrote down.
Comes in: requests. Goes out: JSON, and what was asked. Must never know: the judges.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Reply = tuple[int, bytes]
START, END, NEWLINE = 1, 2, 10
LIKED = "light on in kitchen"


@contextlib.contextmanager
def serving(reply: Callable[[str, Body, dict[str, str]], Reply]) -> Iterator[str]:
    """The address of a server that answers each POST with `reply(path, body, headers)`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, said = reply(self.path, body, headers)
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            if status == 503:
                self.send_header("retry-after", "7")
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class FakeVllm:
    """Answers like a vLLM with the model `judge`, whose favourite answer is `LIKED`. `asked` keeps what came in."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Body, dict[str, str]]] = []

    def __call__(self, path: str, body: Body, headers: dict[str, str]) -> Reply:
        """One reply."""
        self.asked.append((path, body, headers))
        if body["model"] != "judge":
            return 404, b'{"error": {"message": "The model does not exist."}}'
        if path == "/tokenize":
            tokens = _render(body["messages"], prompt=body["add_generation_prompt"])
            return 200, json.dumps({"tokens": tokens, "count": len(tokens)}).encode()
        if "prompt_logprobs" not in body:
            said: Body = {"choices": [{"message": {"content": LIKED}}], "usage": {"total_tokens": 9}}
            return 200, json.dumps(said).encode()
        tokens = _render(body["messages"], prompt=body["add_generation_prompt"])
        start = len(_render(body["messages"][:-1], prompt=True))
        entries: list[Body | None] = [None]
        for index, token in enumerate(tokens[1:], 1):
            entries.append({str(token): {"logprob": _logprob(tokens[start:], index - start), "rank": 1}})
        said = {
            "prompt_logprobs": entries,
            "prompt_token_ids": tokens,
            "usage": {"total_tokens": len(tokens) + 1},
        }
        return 200, json.dumps(said).encode()


def _render(messages: Sequence[Body], *, prompt: bool) -> list[int]:
    tokens: list[int] = []
    for message in messages:
        tokens += [START, *map(ord, message["role"]), NEWLINE, *map(ord, message["content"]), END, NEWLINE]
    return tokens + ([START, *map(ord, "assistant"), NEWLINE] if prompt else [])


def _logprob(answer: Sequence[int], index: int) -> float:
    """-0.1 where the liked answer goes on as it should, -4 elsewhere; -50 for everything that is no answer."""
    liked = [*map(ord, LIKED), END]
    if index < 0 or index > answer.index(END):
        return -50.0
    return -0.1 if index < len(liked) and answer[index] == liked[index] else -4.0
