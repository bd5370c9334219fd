"""Bytes back to a whylogs view, or one sentence that says why not.

Lives here: `read_view` and `is_profile`. Comes in: the bytes of a profile. Goes out: whylogs's `DatasetProfileView`.
Must never know: where the bytes come from.
"""

from __future__ import annotations

from typing import Any

from agent.store.whylogs_light import load_whylogs
from agent.types import InvalidInput

_MAGIC = b"WHY1"


def is_profile(data: bytes) -> bool:
    """True when the bytes begin as a whylogs profile does, of whatever version."""
    return data.startswith(_MAGIC[:3])


def read_view(profile: bytes) -> Any:
    """The view. Raises InvalidInput for bytes that are no profile, cut short, or of another whylogs version."""
    if not is_profile(profile):
        raise InvalidInput("these bytes are no whylogs profile: give what `trimtab profile --out` or whylogs wrote")
    if not profile.startswith(_MAGIC):
        version = profile[3:4].decode("ascii", "replace")
        raise InvalidInput(f"this whylogs profile is of version {version}, not 1: make it again with whylogs 1")
    try:
        return load_whylogs().DatasetProfileView.deserialize(profile)
    except Exception as error:  # whylogs and protobuf raise many kinds for damaged bytes
        raise InvalidInput(
            f"this whylogs profile is damaged ({type(error).__name__}): copy it again, or make it again"
        ) from error
