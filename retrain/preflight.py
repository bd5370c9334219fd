"""What would be found out only after hours of training, found out before the first step.

In: a checked order. Out: lines worth knowing, or InvalidInput in one sentence.
Must never know: the store, the engine, how anything is trained.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from agent.store import artifacts
from retrain.bases import licence
from retrain.bases.card import read_card
from retrain.order import Order
from retrain.training.cluster import refuse_without_ray
from retrain.training.estimate import estimate, read_shapes
from retrain.training.fit import refuse_unfit
from retrain.training.methods import read_config, refuse_without_gpu
from retrain.training.preflight import TRAIN_ONLY, refuse_unservable, unservable
from serving.errors import InvalidInput, Unservable

ANY_RANK = 1 << 30
"""An order without an engine knows no limit."""
COPIES = 4
"""Of the learnt weights on the disk at once: two checkpoints with Adam's moments, the draft, the artifact."""


def check(order: Order, say: Callable[[str], None]) -> None:
    """All checks of an order. Raises InvalidInput; `say` is told what is allowed only under conditions."""
    init = None if order.init is None else read_config(order.init)
    if order.recipe.cluster is not None:
        refuse_without_ray()
    _serving(order, init, say)
    _base(order, say)
    if order.recipe.method == "qlora" and find_spec("torch") is not None:
        refuse_without_gpu()
    shapes = read_shapes(order.base_model.path)
    refuse_unfit(order.base_model.path, shapes, order.recipe, fresh=init is None)
    _disk(order, shapes)


def refuse_another_champion(order: Order) -> None:
    """Raise InvalidInput or Unservable when the adapter to start from is not whole, or not the one that was meant."""
    if order.init is None:
        return
    found = artifacts.verify(order.init)
    wanted = order.champion.digest if order.champion else None
    if wanted is not None and found != wanted:
        raise InvalidInput(f"champion {order.init} has digest {found[:12]}, the order says {wanted[:12]}")


def train_only(order: Order) -> str | None:
    """Why what the order makes is not to be served; None when it is."""
    if order.serve:
        return None
    init = None if order.init is None else read_config(order.init)
    return f"{TRAIN_ONLY}: {unservable(order.recipe, _limit(order), init) or 'the order says serve: false'}"


def _serving(order: Order, init: dict[str, Any] | None, say: Callable[[str], None]) -> None:
    if order.serve:
        refuse_unservable(order.recipe, _limit(order), init)
    else:
        say(train_only(order) or "")


def _limit(order: Order) -> int:
    return ANY_RANK if order.engine is None else order.engine.max_lora_rank


def _base(order: Order, say: Callable[[str], None]) -> None:
    """The base is the one that was meant, and its licence lets it be used so."""
    part = order.base_model
    wanted = {part.digest: "the order"} if part.digest else {}
    if order.init is not None and (trained_on := _trained_on(order)):
        wanted[trained_on] = f"the adapter {order.init.name} was trained on another base: it"
    if wanted:
        found = artifacts.base_digest(part.path)
        for digest, who in wanted.items():
            if digest != found:
                raise InvalidInput(
                    f"base model {part.path} has digest {found[:12]}, {who} says {digest[:12]}: give the folder with "
                    "those weights"
                )
    if part.use is not None:
        name = part.licence or read_card(part.path).licence
        allowed = licence.refuse(name, part.use, str(part.path))
        say(f"base model: {allowed.says}")


def _trained_on(order: Order) -> str | None:
    if order.init is None:
        return None
    try:
        found = artifacts.manifest(order.init).get("base_digest")
    except Unservable:
        return None
    return str(found) if found else None


def _disk(order: Order, shapes: Mapping[str, Sequence[int]]) -> None:
    needed = estimate(shapes, order.recipe, [], 1.0).learnt_weights * COPIES * 12
    home = order.home.absolute()
    there = next(path for path in (home, *home.parents) if path.exists())
    if not there.is_dir():
        raise InvalidInput(f"home {order.home} cannot be a folder, for {there} is none: give another `home`")
    free = shutil.disk_usage(there).free
    if needed > free:
        raise InvalidInput(
            f"{order.home} has {free / 1e6:,.0f} MB free, and this order needs about {needed / 1e6:,.0f} MB for its "
            "checkpoints and the adapter: make room"
        )
