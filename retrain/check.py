"""`trimtab retrain check ORDER`: what a job would refuse before it begins, without a job.

In: a checked order. Out: lines worth knowing, or InvalidInput in one sentence. Nothing is written.
Must never know: the store, the engine. The owner's labelling code is loaded, as a job would.
"""

from __future__ import annotations

from collections.abc import Callable

from retrain import preflight, publish
from retrain.curate import clean, weak
from retrain.curate.labellers import load_labeller
from retrain.curate.rows import read_marked
from retrain.order import Order
from serving.errors import InvalidInput


def check_files(order: Order, say: Callable[[str], None]) -> None:
    """Everything that the order names on this machine is there and can be read. Raises InvalidInput."""
    data = order.data
    if not order.base_model.path.is_dir():
        raise InvalidInput(f"base_model.path {order.base_model.path} is no folder: give the base model's weights")
    publish.refuse_taken(publish.folder_of(order.home, order.challenger), order.id)
    for path in (data.replay, data.canary_file, *data.external, *data.holdouts):
        if path is not None:
            read_marked(path)
    load_labeller(data.labeller)
    if data.curation.pii_engine == "presidio":
        clean.presidio()
    if data.labelling_functions is not None:
        weak.load(data.labelling_functions)
    preflight.check(order, say)
    preflight.refuse_another_champion(order)
