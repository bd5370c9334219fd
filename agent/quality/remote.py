"""One POST to an OpenAI-compatible server.

Lives here: the client's headers and time limits, and every foreign failure turned into a RemoteFault.
Comes in: a path and a JSON body. Goes out: a JSON object.
Must never know: what is asked, or why.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx

from agent.types import RemoteFault

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Remote:
    """A server that answers JSON. Safe to use from several threads.

    Every call says `x-trimtab-internal: 1`, so that the tap does not capture what Trimtab itself asks.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 30.0) -> None:
        """`url` without the `/v1`; `token` goes into `Authorization: Bearer`."""
        headers = {"x-trimtab-internal": "1"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self.url = url.rstrip("/").removesuffix("/v1")
        self._client = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=3.0),
            trust_env=urlsplit(url).hostname not in _LOOPBACK,  # no proxy stands before one's own machine
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer as a JSON object. Raises RemoteFault for a dead, slow, refusing or babbling server."""
        where = f"{self.url}{path}"
        try:
            answer = self._client.post(path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RemoteFault(f"{where}: {type(error).__name__} {error}".rstrip()) from error
        if answer.status_code != httpx.codes.OK:
            said = " ".join(answer.text.split())[:200]
            raise RemoteFault(f"{where} answered {answer.status_code}: {said}", _retry_after_s(answer))
        try:
            document = answer.json()
        except ValueError as error:
            raise RemoteFault(f"{where} did not answer JSON") from error
        if not isinstance(document, dict):
            raise RemoteFault(f"{where} answered a JSON {type(document).__name__}, not an object")
        return document


def _retry_after_s(answer: httpx.Response) -> float | None:
    try:
        return float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        return None
