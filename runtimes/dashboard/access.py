"""Who may watch: a page open elsewhere in the same browser must not, nor anyone beyond this machine without a token."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from avgn.errors import UsageError

LEAST_TOKEN = 16


@dataclass(frozen=True)
class Access:
    """`token` None: anyone who asks from this machine, by a name of this machine."""

    token: str | None

    def allows(self, asked: HTTPConnection) -> bool:
        """Whether a request or WebSocket may have the stream.

        With a token, it must be in the query. Without one, the Host header must name this machine itself: else a page
        from outside could reach us under a name of its own (DNS rebinding). Origin, which browsers send with every
        WebSocket, must be the page we served.
        """
        origin, host = asked.headers.get("origin"), asked.headers.get("host", "")
        try:
            page, name = urlsplit(origin or "").netloc, urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if origin is not None and page != host:
            return False
        if self.token is not None:
            return secrets.compare_digest(asked.query_params.get("token", "").encode(), self.token.encode())
        return is_loopback(name or "")


def access_for(host: str, token: str | None) -> Access:
    """Without a wish, a new token for every address but this machine's own. UsageError for a token easily guessed."""
    if token is not None and (len(token) < LEAST_TOKEN or not token.isalnum() or not token.isascii()):
        raise UsageError(f"--token: must be {LEAST_TOKEN} letters and digits or more; leave it out to have one made.")
    if token is None and not is_loopback(host):
        token = secrets.token_hex(LEAST_TOKEN)
    return Access(token)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine and nobody else's."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
