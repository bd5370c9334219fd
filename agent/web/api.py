"""The routes of the sidecar's HTTP.

Lives here: which path answers what, and how a refusal reads: {"error": "one sentence"}.
Comes in: the store, and behaviours of other rooms as callables. Goes out: a FastAPI application.
Must never know: how metrics are rendered, how feedback is kept, what is running: those are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.fields import FieldInfo
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from agent.store import Store
from agent.store.snapshot import Snapshot, plain, snapshot
from agent.types import InvalidInput, TrimtabError
from agent.web.page import POLICY, page
from agent.web.porch import Porch

ROOMY = ("/v1/exchanges", "/v1/traces", "/v1/alerts")
"""Paths with limits of their own, in `attach.py` and `alerts.py`."""
OPENMETRICS = "application/openmetrics-text"
_PLAINLY = {
    "Not Found": "there is no such path: the status page is /, agent/web/README.md lists the others",
    "Method Not Allowed": "this path takes another method: the header Allow names it",
}
"""What the framework says in two words, as a sentence."""
REPORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.html")
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data: blob:; font-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
)
"""A report is a page of its own scripts: it runs alone, without this origin and without the network."""


MAX_SOURCES = 50
"""Kinds of feedback: each becomes a label of metrics, and a line of the page."""


class Feedback(BaseModel):
    """A person's word (or a recogniser's, standing in for one) on one answer."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    exchange_id: Annotated[str, StringConstraints(strip_whitespace=False, min_length=1, max_length=5000)]
    correct: bool
    correction: str | None = Field(default=None, max_length=100_000)
    source: str = Field(default="feedback", pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}$")


class _Sources:
    """Who gave feedback so far; the store is asked once."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._look = look
        self.known: set[str] = set()

    def check(self, source: str) -> None:
        """Raises InvalidInput for a new source when there are enough."""
        if not self.known:
            self.known.update(given.source for given in self._look().grades if given.truth)
        if source not in self.known and len(self.known) >= MAX_SOURCES:
            raise InvalidInput(f"there are {MAX_SOURCES} sources already: use one of them, such as {min(self.known)!r}")


def create_app(
    store: Store,
    alias: str,
    *,
    redact: Callable[[str], str],
    render_metrics: Callable[[], bytes],
    feedback: Callable[..., object],
    live: Callable[[], dict[str, Any]],
    reports: Path,
    shared: Callable[[str], bytes | None] = lambda _name: None,
    render_openmetrics: Callable[[], bytes] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    hashed_id: Callable[[str], str] = str,
    hosts: Collection[str] = (),
) -> FastAPI:
    """The application.

    `redact` passes over a correction before `feedback(exchange_id=, correct=, correction=, source=)` keeps it;
    `live()` adds what only the process knows (`weights` of the alias among it); `reports` is the folder of
    Evidently pages, `shared(name)` one that another process made; `hashed_id` says under which id an exchange is stored
    whose own may not be; `hosts` are the names by which browsers may come.
    """
    app = FastAPI(title="Trimtab", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Porch, roomy=ROOMY, hosts=hosts)
    _refusals(app)
    _metrics(app, render_metrics, render_openmetrics)
    _probes(app, store)
    _reports(app, reports, shared)
    _feedback(app, store, _Sources(lambda: snapshot(store, alias, now(), charts=False)), redact, hashed_id, feedback)

    def look() -> tuple[Snapshot, dict[str, Any]]:
        known = live()
        return snapshot(store, alias, now(), known.get("weights")), known

    @app.get("/")
    def status_page() -> HTMLResponse:
        return HTMLResponse(page(*look()), headers=_guarded(POLICY))

    @app.get("/v1/status")
    def status() -> JSONResponse:
        seen, known = look()
        return JSONResponse(seen.to_json() | {"live": plain(known)})

    return app


def _feedback(
    app: FastAPI,
    store: Store,
    sources: _Sources,
    redact: Callable[[str], str],
    hashed_id: Callable[[str], str],
    feedback: Callable[..., object],
) -> None:
    """What people say of an answer: redacted, of a stored exchange, of one of not too many sources."""

    @app.post("/v1/feedback")
    def take_feedback(said: Feedback) -> dict[str, bool]:
        forms = (said.exchange_id, said.exchange_id.strip(), hashed_id(said.exchange_id))
        stored = next((form for form in forms if store.exchange(form) is not None), None)
        if stored is None:
            raise HTTPException(
                404,
                f"no exchange {said.exchange_id[:200]!r} is stored: send the id of a response, after it was captured",
            )
        if redact(said.source) != said.source:
            raise InvalidInput("source looks private: name the kind of source, such as `support`, not a person")
        sources.check(said.source)
        correction = None if said.correction is None else redact(said.correction)
        feedback(exchange_id=stored, correct=said.correct, correction=correction, source=said.source)
        sources.known.add(said.source)
        return {"stored": True}


def _reports(app: FastAPI, reports: Path, shared: Callable[[str], bytes | None]) -> None:
    """Evidently's pages: of this process, else of another one."""

    @app.get("/reports/{name}")
    def report(name: str) -> Response:
        path, named = reports / name, REPORT_NAME.fullmatch(name) is not None
        if named and path.is_file() and not path.is_symlink():
            return FileResponse(path, media_type="text/html", headers=_guarded(REPORT_POLICY))
        theirs = shared(name) if named else None
        if theirs is None:
            raise HTTPException(404, "there is no such report: the status page links the one of the last alarm")
        return HTMLResponse(theirs, headers=_guarded(REPORT_POLICY))


def _probes(app: FastAPI, store: Store) -> None:
    """Whether the process lives: its event loop turns, no more is asked. Whether it is well: the store answers."""

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        store.last_rowid()
        return {"status": "ok"}


def _metrics(app: FastAPI, text: Callable[[], bytes], openmetrics: Callable[[], bytes] | None) -> None:
    """What monitors read, in the form that they ask for; in a thread of the pool, so that the event loop goes on."""

    @app.get("/metrics")
    def metrics(request: Request) -> Response:
        if openmetrics is not None and OPENMETRICS in request.headers.get("accept", ""):
            return Response(openmetrics(), media_type=f"{OPENMETRICS}; version=1.0.0; charset=utf-8")
        return Response(text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _guarded(policy: str) -> Mapping[str, str]:
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


def _refusals(app: FastAPI) -> None:
    """Every refusal is JSON with one sentence under `error`."""

    @app.exception_handler(HTTPException)
    async def refused(_: Request, why: HTTPException) -> JSONResponse:
        said = _PLAINLY.get(why.detail, why.detail)
        return JSONResponse({"error": said}, why.status_code, headers=why.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, why: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": _first_fault(why, _body_of(request))}, 422)

    @app.exception_handler(InvalidInput)
    async def invalid(_: Request, why: InvalidInput) -> JSONResponse:
        return JSONResponse({"error": str(why)}, 422)

    @app.exception_handler(TrimtabError)
    async def unable(_: Request, why: TrimtabError) -> JSONResponse:
        return JSONResponse({"error": str(why)}, 503)

    @app.exception_handler(SQLAlchemyError)
    async def unstored(_: Request, why: SQLAlchemyError) -> JSONResponse:
        return JSONResponse({"error": f"the store does not answer: {type(why).__name__}"}, 503)


def _body_of(request: Request) -> Mapping[str, FieldInfo]:
    """The fields that the body of a request's route may have."""
    field = getattr(request.scope.get("route"), "body_field", None)
    shape = None if field is None else field.field_info.annotation
    return shape.model_fields if isinstance(shape, type) and issubclass(shape, BaseModel) else {}


def _first_fault(why: RequestValidationError, body: Mapping[str, FieldInfo]) -> str:
    fault = why.errors()[0]
    if fault["type"] == "json_invalid":
        return "the body is not JSON"
    where = ".".join(str(part) for part in fault["loc"][1:])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {where!r}; known keys are: {', '.join(body)}"
    needed = " and ".join(name for name, field in body.items() if field.is_required())
    if not where:
        return f"send a JSON object with {needed}, and content-type application/json"
    if fault["type"] == "missing":
        return f"{where} is missing; needed: {needed}"
    return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
