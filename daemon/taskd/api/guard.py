"""No way in from a web page: what a browser could be made to send is refused before any view sees it.

Called on the server's threads before each request. The socket's file keeps other users out, but who forwards the
socket to a port also lets in the pages that their browser shows. Invariant: a request that passes was sent by a
program, or by a page of a host that the administrator named, and its body is JSON.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from flask import Flask, request

from ..errors import CrossSite, MalformedRequest, UnknownHost, UnsupportedMediaType
from .intake import NDJSON

#: A Host header: its name, and perhaps a port.
_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_ORIGIN = re.compile(r"https?://(?P<host>.+)")
#: What a browser says of requests that no other page had a hand in.
_OWN_SITE = ("same-origin", "none")
_MEDIA_TYPES = ("application/json", *NDJSON)


def register(app: Flask, hosts: Collection[str]) -> None:
    """Have each request looked at first; `hosts` are the names, besides localhost, that it may be for."""

    @app.before_request
    def refuse() -> None:
        _check_host(hosts)
        _check_origin(hosts)
        # A wrong path or method is the mistake to speak of, where there is one.
        if request.routing_exception is None:
            _check_body()


def _check_host(hosts: Collection[str]) -> None:
    # HTTP/1.0 has no Host, and no browser speaks it.
    for given in (request.environ.get("HTTP_HOST"), request.environ.get("taskd.target_host") or None):
        if given is not None and not names_us(given, hosts):
            raise UnknownHost(f'{(UnknownHost.__doc__ or "").removesuffix(".")} (it said "{given}").')


def names_us(host: str, hosts: Collection[str]) -> bool:
    """Tell whether a Host header is for this daemon."""
    return _name(host) in ("localhost", *hosts)


def _check_origin(hosts: Collection[str]) -> None:
    origin = request.environ.get("HTTP_ORIGIN")
    if origin is not None and not _is_own(origin, hosts):
        raise CrossSite
    if request.environ.get("HTTP_SEC_FETCH_SITE", "none") not in _OWN_SITE:
        raise CrossSite


def _is_own(origin: str, hosts: Collection[str]) -> bool:
    """Whether an Origin is where the request went, or a host of the administrator's.

    Another port of localhost is neither: many a program serves pages there.
    """
    match = _ORIGIN.fullmatch(origin.lower())
    if not match:
        return False
    return match["host"] == request.environ.get("HTTP_HOST", "").lower() or _name(match["host"]) in hosts


def _name(host: str) -> str | None:
    match = _HOST.fullmatch(host.lower())
    return match["name"] if match else None


def _check_body() -> None:
    """Raise for a body that is no JSON, also where none is asked for: those are the ones that a form can send."""
    if not request.content_length:
        return
    if request.method in ("GET", "HEAD", "OPTIONS"):
        raise MalformedRequest(f"A {request.method} has no body; options go into the query.")
    if request.mimetype not in _MEDIA_TYPES:
        given = f'"{request.mimetype}"' if request.mimetype else "nothing"
        raise UnsupportedMediaType(f"{UnsupportedMediaType.__doc__} It said {given}.")
