"""Where the agent listens: whether it can, how that is written, and where it is told to other programs.

Lives here: a free port, an address as a URL, and `<home>/agent.json`, written and read.
Comes in: settings. Goes out: ports and addresses. Must never know: what is served there.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from agent.settings import Settings
from agent.types import InvalidInput

_FILE = "agent.json"


def usable_port(host: str, port: int) -> int:
    """The port itself, or a free one for 0. Raises InvalidInput when somebody listens there already."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except (OSError, UnicodeError) as error:
        msg = f"http.host {host!r} is no address of this machine: write one, such as 127.0.0.1, ::1 or 0.0.0.0"
        raise InvalidInput(msg) from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            msg = f"port {port} on {host} cannot be used ({error.strerror}): set http.port to a free one"
            raise InvalidInput(msg) from error
        return int(probe.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """The address for browsers and programs; those of IPv6 stand in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write_address(home: Path, address: str) -> None:
    """Let `address_of` find the agent."""
    path = home / _FILE
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps({"url": address, "pid": os.getpid()}))
    scratch.replace(path)


def address_of(settings: Settings) -> str:
    """Where the agent of these settings said it listens, or where it would."""
    try:
        return str(json.loads((settings.home / _FILE).read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return url_of(settings.http.host, settings.http.port)
