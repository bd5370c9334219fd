"""One retraining order, one process: its lock, its row in the store, its heartbeat, and what is said when it fails.

In: a checked order, the engine's token. Out: a verdict; the order's row says done, or failed and why.
Must never know: the environment, how it was started, what the stages do. Killed at any point and run again, it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from agent.launch import lease, lock
from agent.store import Store, convert
from agent.store.tables import OrderRow
from agent.types import Verdict
from retrain import faults, publish
from retrain.job import Job
from retrain.order import Order
from retrain.progress import Progress
from serving.errors import TrimtabError

Say = Callable[[str], None]
See = Callable[[str, float, str], None]


def _blind(_stage: str, _share: float, _note: str) -> None:
    """Nobody looks."""


def run(
    order: Order, store: Store, *, token: str = "", judge_key: str | None = None, say: Say = print, see: See = _blind
) -> Verdict | None:
    """Work an order off; returns the verdict, None for a bootstrap order.

    `token` opens the engine, `judge_key` a judge at an address of its own; `see(stage, share, note)` is for a live
    view.

    Raises AlreadyRunning when another process has it (nothing is touched), TrimtabError when it cannot be done
    (the order's row then says failed and why). Safe to run again after any end.
    """
    with lock.held(order.work), _leased(order) as check:
        row = _open_row(store, order)
        if row.status == "done":
            say(f"order {order.id} is done already")
            return convert.verdict(row.verdict) if row.verdict else None

        def beat(stage: str, share: float) -> None:
            check()
            store.update_order(order.id, heartbeat_at=_now(), stage=stage, progress=round(share, 4))

        def watched(stage: str, share: float, note: str) -> None:
            check()
            see(stage, share, note)

        try:
            with Progress(say, beat, see=watched) as progress:
                return Job(order, store, progress, token, judge_key).run()
        except lock.AlreadyRunning:  # the lease was lost: whoever has it now speaks for the order
            raise
        except Exception as error:
            said = faults.sentence(error, str(order.home))
            with suppress(SQLAlchemyError):  # a store that is away keeps its row running: the job is tried again
                store.update_order(order.id, status="failed", error=said, finished_at=_now())
                store.record("order_failed", f"order {order.id} failed: {said}", _now(), order=order.id)
            if faults.full(error):
                raise TrimtabError(said) from error
            raise


@contextmanager
def _leased(order: Order) -> Iterator[Callable[[], None]]:
    """Where other machines may have the order too, hold its lease; gives the check that it still is ours."""
    objects = publish.objects_of(order)
    if objects is None:
        yield _alone
        return
    with lease.held(objects, f"orders/{order.id}/lease") as mine:
        yield mine.check


def _alone() -> None:
    """Nobody else can have the order: the lock in its folder says so."""


def _open_row(store: Store, order: Order) -> OrderRow:
    """The order's row, running; a job started by hand enters its order itself."""
    with store.transaction() as session:
        row = session.get(OrderRow, order.id)
        if row is None:
            document = order.model_dump(mode="json", exclude={"recipe"}) | {"recipe": order.recipe.to_json()}
            row = OrderRow(
                id=order.id,
                alias=order.alias,
                status="running",
                reason=order.reason,
                document=document,
                opened_at=_now(),
                attempts=1,
            )
        if row.status != "done":
            row.status, row.error, row.finished_at = "running", None, None
            row.started_at = row.started_at or _now()
            row.heartbeat_at = _now()
        session.add(row)
        return row


def _now() -> datetime:
    return datetime.now(UTC)
