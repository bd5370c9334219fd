"""A larger model answers training prompts that nobody labelled.

In: rows without an answer, an OpenAI-compatible server. Out: rows with its answers, kept in a file as they come, so
that a job which was killed does not ask twice. Must never know: the test side; no examined prompt is sent anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from retrain.curate.options import Teacher
from retrain.curate.rows import Row
from serving.errors import InvalidInput, RemoteFault

TIMEOUT_S = 120.0


def answer(
    rows: Sequence[Row], teacher: Teacher, kept: Path, transport: httpx.BaseTransport | None = None
) -> list[Row]:
    """The rows that it answered; `kept` is the file of answers. Raises RemoteFault when it does not answer."""
    asked = rows[: teacher.max_rows]
    known = dict(_read(kept))
    headers = {"Authorization": f"Bearer {_key(teacher.key_file)}"} if teacher.key_file else {}
    with (
        httpx.Client(base_url=teacher.url, headers=headers, timeout=TIMEOUT_S, transport=transport) as client,
        kept.open("a", encoding="utf-8") as stream,
    ):
        for row in asked:
            if row.id not in known:
                known[row.id] = _ask(client, teacher, row)
                stream.write(json.dumps({"id": row.id, "answer": known[row.id]}, ensure_ascii=False) + "\n")
                stream.flush()
    return [replace(row, answer=known[row.id], source="teacher") for row in asked if known[row.id]]


def _ask(client: httpx.Client, teacher: Teacher, row: Row) -> str:
    body = {"model": teacher.model, "messages": row.chat, "temperature": 0, "max_tokens": teacher.max_tokens}
    try:
        reply = client.post("/v1/chat/completions", json=body)
        reply.raise_for_status()
        choice: dict[str, Any] = reply.json()["choices"][0]
        text = choice["message"]["content"]
    except httpx.HTTPStatusError as error:
        raise RemoteFault(f"teacher {teacher.url} answered {error.response.status_code} for {teacher.model}") from error
    except httpx.HTTPError as error:
        raise RemoteFault(f"teacher {teacher.url} does not answer ({type(error).__name__})") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RemoteFault(f"teacher {teacher.url} gave no chat completion: is it OpenAI-compatible?") from error
    whole = choice.get("finish_reason") != "length"
    return text.strip() if isinstance(text, str) and whole else ""


def _key(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"teacher.key_file {path} cannot be read: give a file that holds the token") from error


def _read(path: Path) -> Iterator[tuple[str, str]]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            value = json.loads(line)
            yield str(value["id"]), str(value["answer"])
        except (ValueError, KeyError, TypeError):  # the line that a kill cut
            continue
