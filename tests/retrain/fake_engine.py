"""A stand-in for vLLM over real HTTP: adapters are names, answers come from a function.

In: `answers(model, prompt) -> text`. Out: the paths that a contest uses. It keeps what the real one promises and no
more: an unknown model is 404, an admin path without the token is 403, a loaded adapter is gone after `restart`.
A word is a token; every word of a right answer is e^-1 probable, of any other e^-3.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

TOKEN = "token"


THINKING_S = 0.02
"""An answer takes a while, as in life: latencies that are mostly noise would say nothing of a slowdown."""


class FakeEngine:
    """A server on a free port of this machine, for as long as the `with` block."""

    def __init__(self, answers: Callable[[str, str], str]) -> None:
        self.answers = answers
        self.loaded: dict[str, str] = {"base": "model"}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.scored = 0
        self.faults = 0
        """Chat requests that will fail before they are looked at."""
        self.pause = threading.Event()
        self.pause.set()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health":
                    self._reply(200, {})
                else:
                    self._reply(200, {"data": [{"id": k, "root": v} for k, v in fake.loaded.items()]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self._reply(*fake.act(self.path, dict(self.headers), body))

            def _reply(self, status: int, document: Any) -> None:
                raw = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self.pause.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def restart(self) -> None:
        """Forget the adapters, as a killed engine does."""
        self.loaded = {"base": "model"}

    def act(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        """Answer one request."""
        lowered = {name.lower(): value for name, value in headers.items()}
        token = lowered.get("x-trimtab-token") or lowered.get("authorization", "").removeprefix("Bearer ")
        if path.startswith("/v1/chat"):
            time.sleep(THINKING_S)
        if self.faults and path.startswith("/v1/chat"):
            self.faults -= 1
            return 503, {"error": {"message": "busy"}}
        if path.endswith("lora_adapter"):
            if token != TOKEN:
                return 403, {}
            if path.startswith("/v1/load"):
                self.loaded[body["lora_name"]] = body["lora_path"]
            else:
                self.loaded.pop(body["lora_name"], None)
            return 200, {}
        if body["model"] not in self.loaded:
            return 404, {"error": {"message": "The model does not exist."}}
        assert lowered.get("x-trimtab-internal") == "1"
        assert token == TOKEN
        if path == "/tokenize":
            return 200, {"tokens": _tokens(body)}
        if "prompt_logprobs" in body:
            self.scored += 1
            return 200, self._scores(body)
        prompt = body["messages"][-1]["content"]
        self.pause.wait()
        self.asked[body["model"], prompt] += 1
        text = self.answers(body["model"], prompt)
        usage = {"prompt_tokens": len(_tokens(body)), "completion_tokens": len(text.split())}
        return 200, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}

    def _scores(self, body: dict[str, Any]) -> dict[str, Any]:
        tokens = _tokens(body)
        right = self.answers(body["model"], body["messages"][-2]["content"]) == body["messages"][-1]["content"]
        scored = [None, *({str(token): {"logprob": -1.0 if right else -3.0}} for token in tokens[1:])]
        return {"prompt_token_ids": tokens, "prompt_logprobs": scored, "usage": {"total_tokens": len(tokens)}}


def _tokens(body: dict[str, Any]) -> list[int]:
    words: list[str] = []
    for message in body["messages"]:
        words += [f"<{message['role']}>", *message["content"].split(), "<end>"]
    if body.get("add_generation_prompt", True):
        words.append("<assistant>")
    return [zlib.crc32(word.encode()) for word in words]
