"""Bytes back to a whylogs view, or one sentence that says why not.

Lives here: `read_view`. Comes in: the bytes of a profile. Goes out: whylogs's `DatasetProfileView`.
Must never know: where the bytes come from.
"""

from __future__ import annotations

from typing import Any

from agent.store.whylogs_light import load_whylogs
from agent.types import InvalidInput

_MAGIC = b"WHY1"


def read_view(profile: bytes) -> Any:
    """The view. Raises InvalidInput for bytes that are no profile, cut short, or of another whylogs version."""
    if not profile.startswith(_MAGIC):
        started = "starts otherwise" if profile[:3] != _MAGIC[:3] else f"is of version {profile[3:4]!r}"
        raise InvalidInput(f"this is no whylogs profile of version 1 (it {started}): make it again with this Trimtab")
    try:
        return load_whylogs().DatasetProfileView.deserialize(profile)
    except Exception as error:  # whylogs and protobuf raise many kinds for damaged bytes
        raise InvalidInput(
            f"this whylogs profile is damaged ({type(error).__name__}): copy it again, or make it again"
        ) from error
