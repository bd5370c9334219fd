"""The only file that speaks vLLM's admin HTTP: live, models, load, unload, probe, drain.

In: names, folders, probes. Out: answers, or `RemoteFault` (try again), `Unservable` (never), `InvalidInput` (ours).
Must never know: why an adapter is loaded, aliases, weights, the store. Blocks: call it from a thread.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from serving.errors import InvalidInput, RemoteFault, Unservable
from serving.servable import check_servable

Messages = Sequence[Mapping[str, str]]

LOOKS = 8
"""Fresh connections that must show a loaded adapter. Of two processes one stays unseen with a chance of 1 in 128."""

_LORA_INFO = re.compile(r"^vllm:lora_requests_info\{(?P<labels>[^}]*)\} (?P<value>\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def busy_adapters(metrics: str) -> frozenset[str]:
    """The adapters with requests running or waiting, from vLLM's metrics text. Pure.

    The gauge's value is the time at which its labels were true; the newest sample is the one that holds.
    """
    samples = [(float(m["value"]), dict(_LABEL.findall(m["labels"]))) for m in _LORA_INFO.finditer(metrics)]
    if not samples:
        return frozenset()
    labels = max(samples, key=lambda sample: sample[0])[1]
    names = f"{labels.get('running_lora_adapters', '')},{labels.get('waiting_lora_adapters', '')}"
    return frozenset(name for name in names.split(",") if name)


class Engine:
    """A client of one vLLM server. `token` opens the admin paths, `api_key` is vLLM's own when it has one."""

    def __init__(
        self,
        base_url: str,
        token: str = "",
        *,
        api_key: str = "",
        max_lora_rank: int = 16,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"x-trimtab-token": token, "x-trimtab-internal": "1"} if token else {}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._max_lora_rank = max_lora_rank
        self._http = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout_s, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def live(self) -> bool:
        """Whether the server answers and says that it is healthy. Never raises."""
        try:
            return self._http.get("/health", timeout=5.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def wait_ready(
        self, timeout_s: float = 600.0, poll_s: float = 0.25, alive: Callable[[], bool] = lambda: True
    ) -> None:
        """Returns once the server is live. Raises `RemoteFault` when it is not in time, or `alive()` says it died."""
        deadline = time.monotonic() + timeout_s
        while not self.live():
            if not alive():
                raise RemoteFault("vLLM ended before it was ready.")
            if time.monotonic() > deadline:
                raise RemoteFault(f"vLLM was not ready within {timeout_s:.0f} s.")
            time.sleep(poll_s)

    def models(self) -> dict[str, str]:
        """What is served: name -> folder, base model and adapters alike."""
        rows = self._json("GET", "/v1/models").get("data", [])
        return {row["id"]: row.get("root") or "" for row in rows}

    def load(self, name: str, folder: Path | str) -> None:
        """Loads an adapter; fine when it is loaded already from this folder.

        Raises `Unservable` when the engine cannot load it, `InvalidInput` when the name stands for another folder
        (the engine keys its prefix cache by name, so every version needs its own) or the load reached only one of
        several processes, `RemoteFault` otherwise.
        """
        check_servable(Path(folder), self._max_lora_rank)
        answer = self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        if answer.is_success:
            self._check_reach(name)
            return
        said = _said(answer)
        if answer.status_code == httpx.codes.BAD_REQUEST:
            loaded_from = self.models().get(name)
            if loaded_from == str(folder):
                return
            if loaded_from is not None:
                raise InvalidInput(f"The name {name} is taken by {loaded_from}: give every version its own name.")
        elif answer.status_code == httpx.codes.NOT_FOUND and "adapter" not in said.lower():
            raise InvalidInput(
                "vLLM was started without runtime LoRA: set VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and start one API "
                "process (vLLM refuses it with --api-server-count above 1)."
            )
        if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR or self.live():
            raise Unservable(f"vLLM cannot load the adapter {name} from {folder}: {said}")
        raise _fault(answer)

    def _check_reach(self, name: str) -> None:
        """A load reaches one process. Raises `InvalidInput` when there are others behind the address."""
        for _ in range(LOOKS):
            answer = self._request("GET", "/v1/models", headers={"connection": "close"})
            if answer.is_success and name not in {row["id"] for row in answer.json()["data"]}:
                raise InvalidInput(
                    f"Not all processes behind {self._http.base_url} have loaded the adapter {name}: give engine.url "
                    "the address of one vLLM with one API process."
                )

    def unload(self, name: str) -> None:
        """Unloads an adapter; fine when it is not loaded. Requests that run with it end in peace."""
        answer = self._post("/v1/unload_lora_adapter", {"lora_name": name})
        if answer.is_success or answer.status_code == httpx.codes.NOT_FOUND:
            return
        if answer.status_code == httpx.codes.BAD_REQUEST and name not in self.models():
            return
        raise _fault(answer)

    def probe(self, name: str, probes: Sequence[Messages | str], max_tokens: int = 32) -> list[str]:
        """The greedy answers of `name` to each probe, one after the other, so that no batch mixes them.

        A probe is a list of chat messages, or the text of one user message. Is not captured when a token is set.
        """
        return [self._answer(name, probe, max_tokens) for probe in probes]

    def _answer(self, name: str, probe: Messages | str, max_tokens: int) -> str:
        messages = [{"role": "user", "content": probe}] if isinstance(probe, str) else [dict(m) for m in probe]
        body = {"model": name, "messages": messages, "temperature": 0, "max_tokens": max_tokens}
        said = self._json("POST", "/v1/chat/completions", body)
        try:
            return str(said["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError) as why:
            raise RemoteFault("vLLM answered a probe without a choice.") from why

    def busy(self) -> frozenset[str]:
        """Adapters with requests running or waiting, as the engine last said."""
        return busy_adapters(self._request("GET", "/metrics").text)

    def drain(self, name: str, timeout_s: float = 60.0, quiet_s: float = 1.0, poll_s: float = 0.2) -> bool:
        """Waits until no request with the adapter has been seen for `quiet_s`; False when `timeout_s` went by first.

        Route new requests elsewhere beforehand. The gauge moves only while the engine steps, so one quiet look is
        not enough, and an engine that stopped in the midst looks busy for ever: hence both limits.
        """
        deadline = time.monotonic() + timeout_s
        quiet_since: float | None = None
        while True:
            now = time.monotonic()
            if name in self.busy():
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            if quiet_since is not None and now - quiet_since >= quiet_s:
                return True
            if now >= deadline:
                return False
            time.sleep(poll_s)

    # -- HTTP -------------------------------------------------------------------------------------------------

    def _request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """An answer of any status but 403. Raises `RemoteFault` when none came, `InvalidInput` at a closed door."""
        try:
            answer = self._http.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as why:
            raise RemoteFault(f"vLLM did not answer {method} {path}: {str(why) or type(why).__name__}.") from why
        if answer.status_code in (httpx.codes.FORBIDDEN, httpx.codes.UNAUTHORIZED):
            raise InvalidInput(f"vLLM refused {path}: give the server and this side the same TRIMTAB_TOKEN.")
        return answer

    def _post(self, path: str, body: Any) -> httpx.Response:
        return self._request("POST", path, body)

    def _json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self._request(method, path, body)
        if not answer.is_success:
            raise _fault(answer)
        try:
            said = answer.json()
        except ValueError as why:
            raise RemoteFault(f"vLLM answered {path} with something that is not JSON.") from why
        if not isinstance(said, dict):
            raise RemoteFault(f"vLLM answered {path} with JSON that is no object.")
        return said


def _said(answer: httpx.Response) -> str:
    """The message in an error answer, else its text, cut to 300 characters."""
    try:
        error = answer.json()
        error = error.get("error", error)
        text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = answer.text
    return text[:300]


def _fault(answer: httpx.Response) -> RemoteFault:
    after = answer.headers.get("retry-after", "")
    retry_after_s = float(after) if after.isdecimal() else None
    return RemoteFault(f"vLLM answered {answer.status_code}: {_said(answer)}", retry_after_s)
