"""Server-sent events (pure).

Lives here: the framing of a streamed answer, after the HTML standard's "event stream interpretation".
Comes in: the whole bytes of a stream. Goes out: the data of each event, and where it begins and ends.
Must never know: what the data mean.
"""

from __future__ import annotations

import re
from collections.abc import Generator

BOM = b"\xef\xbb\xbf"
_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r|\r\n\n|\n\r\n")


def events(stream: bytes) -> Generator[tuple[int, int, bytes], int | None, None]:
    """(start, end, data) of each event that has data; lines of data are joined by a line feed.

    What follows the last blank line is an event that never ended; it is given too, as its end offset says.
    An offset sent into the generator is where it goes on.
    """
    at = len(BOM) if stream.startswith(BOM) else 0
    simple = b"\r" not in stream
    size = len(stream)
    while at < size:
        if simple:
            stop = stream.find(b"\n\n", at)
            stop, end = (stop, stop + 2) if stop >= 0 else (size, size)
        else:
            blank = _BLANK.search(stream, at)
            stop, end = (blank.start(), blank.end()) if blank else (size, size)
        start, at = at, end
        if simple and stream.startswith(b"data: ", start) and stream.find(b"\n", start, stop) < 0:
            jump = yield start, end, stream[start + 6 : stop]
        else:
            data = [
                _value(line) for line in stream[start:stop].splitlines() if line == b"data" or line.startswith(b"data:")
            ]
            if not data:
                continue
            jump = yield start, end, b"\n".join(data)
        at = end if jump is None else jump


def _value(line: bytes) -> bytes:
    _, _, value = line.partition(b":")
    return value[1:] if value.startswith(b" ") else value
