"""Named arrays and one JSON text as bytes and back, exactly.

Lives here: `pack` and `unpack`; `joined` and `parted` for rows of unequal length.
Comes in: plain values, or bytes. Goes out: bytes, or plain values.
Must never know: what a detector is, or where the bytes are kept. The file is an npz; nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.types import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Arrays = dict[str, Any]


def pack(meta: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """One npz file; `meta` must survive JSON."""
    out = io.BytesIO()
    text = np.frombuffer(json.dumps(dict(meta)).encode(), np.uint8)
    np.savez(out, allow_pickle=False, **{"meta": text, **arrays})
    return out.getvalue()


def unpack(state: bytes) -> tuple[dict[str, Any], Arrays]:
    """What was packed. Raises InvalidInput for bytes that are nothing of the kind."""
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        if isinstance(meta, dict):
            return meta, arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput("these bytes are not the state of a drift detector: fit a new one") from error
    raise InvalidInput("these bytes are not the state of a drift detector: fit a new one")


def joined(texts: Sequence[NDArray[np.uint16]]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Rows of unequal length behind each other, and how long each is."""
    sizes = np.array([text.size for text in texts], np.uint16)
    return np.concatenate([np.zeros(0, np.uint16), *texts]), sizes


def parted(flat: NDArray[np.uint16], sizes: NDArray[np.uint16]) -> list[NDArray[np.uint16]]:
    """The rows that were `joined`."""
    return np.split(flat, np.cumsum(sizes, dtype=np.intp)[:-1]) if sizes.size else []


def part(arrays: Mapping[str, Any], name: str) -> Arrays:
    """The arrays whose names begin with `name.`, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}


def named(name: str, arrays: Mapping[str, Any]) -> Arrays:
    """The same arrays with `name.` before their names."""
    return {f"{name}.{key}": value for key, value in arrays.items()}
