"""Who may ask. Specified in docs/spec/serve.md, section 2.

A web page that the operator visits can send requests to the loopback interface. It cannot choose the Host
header, which is an address or an allowed name (DNS rebinding brings the page's own name), and it cannot leave
out the Origin header where it posts.
"""

import hmac
import ipaddress
from collections.abc import Iterable

from aiohttp import web

from modelreg_verifier.serving.exchange import Refusal

__all__ = ["Guard"]

_OPEN = frozenset({"/v2/health/live", "/v2/health/ready"})


class Guard:
    """Lets requests pass or refuses them.

    Args:
        token: what clients must bring, if anything.
        names: Host names that are allowed besides `localhost` and addresses.
    """

    def __init__(self, token: bytes | None = None, names: Iterable[str] = ()) -> None:
        self._token = token
        self._names = {"localhost", *(name.lower() for name in names)}

    def check_origin(self, request: web.BaseRequest) -> None:
        """Raise Refusal with 403 for what a web page could have sent."""
        host = _host_name(request.headers.get("Host", ""))
        if host not in self._names and not _is_address(host):
            raise Refusal(403, "host not allowed", close=True)
        if "Origin" in request.headers:
            raise Refusal(403, "requests from web pages are not allowed", close=True)

    def check_token(self, request: web.BaseRequest, path: str) -> None:
        """Raise Refusal with 401 where a token is due and missing."""
        if self._token is None or path in _OPEN:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token)
        if scheme.lower() != "bearer" or not same:
            raise Refusal(401, "a bearer token is expected", close=True)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _host_name(header: str) -> str:
    """The Host header without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0].lower()
