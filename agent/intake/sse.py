"""Server-sent events (pure).

Lives here: the framing of a streamed answer, after the HTML standard's "event stream interpretation".
Comes in: the whole bytes of a stream. Goes out: the data of each event and where it ends.
Must never know: what the data mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r|\r\n\n|\n\r\n")


def events(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """(end offset in bytes, data) of each event that has data; lines of data are joined by a line feed.

    What follows the last blank line is an event that never ended; it is given too, as its end offset says.
    """
    at = 3 if stream.startswith(b"\xef\xbb\xbf") else 0
    while at < len(stream):
        blank = _BLANK.search(stream, at)
        stop, end = (blank.start(), blank.end()) if blank else (len(stream), len(stream))
        lines = stream[at:stop].splitlines()
        data = [_value(line) for line in lines if line == b"data" or line.startswith(b"data:")]
        if data:
            yield end, b"\n".join(data)
        at = end


def _value(line: bytes) -> bytes:
    _, _, value = line.partition(b":")
    return value[1:] if value.startswith(b" ") else value
