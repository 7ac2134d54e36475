"""A request as it arrives: waitress's parser, with every doubtful request refused before waitress reads it.

The server's thread calls it; `close` is for any, one at a time. The invariants: a request is either whole and without
doubt, or has an error, and then its connection takes no other; what is kept of a body is counted in its user's share.
"""

from __future__ import annotations

from typing import Any

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, Error

from .bodies import Share
from .chunks import Chunks
from .head import check_beginning, check_head

#: Bytes up to which a body is not counted: it is in memory, and most are no longer.
_LITTLE = 8 * 1024


class Overfull(Error):  # type: ignore[misc]  # waitress has no types
    """The user has more bytes of bodies here than one may have."""

    code = 429


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """A request as it arrives."""

    # waitress's log messages name them, also for a request that was never parsed.
    command = path = ""
    #: The host in a target such as http://host/path, which counts like the Host header.
    proxy_netloc = ""
    completed: bool
    error: Any
    header_plus: bytes
    body_rcv: Any
    body_bytes_received: int

    def __init__(self, adj: Any, share: Share | None = None) -> None:
        """A body is counted in `share`, if there is one."""
        super().__init__(adj)
        self._share = share
        #: Bytes that are counted.
        self._held = 0

    def received(self, data: bytes) -> int:
        """Take bytes in; unlike waitress, never ask for the body of a request that is refused or has none."""
        try:
            if self.body_rcv is None:
                # At once: a client whose lines do not end would wait for an answer until its time is over.
                check_beginning(self.header_plus + data)
            taken: int = super().received(data)
        except ParsingError as error:
            self.error = BadRequest(str(error))
            self.completed = True
        if self.body_bytes_received > _LITTLE:
            self._count()
        if self.completed:
            self.expect_continue = False
        # Behind an error there is no telling where the next request begins.
        return len(data) if self.error else taken

    def _count(self) -> None:
        """Count what came of the body; one that there is no room for is refused, and nothing of it kept."""
        more = self.body_bytes_received - self._held
        if self._share is None or self._share.hold(more):
            self._held += more
        else:
            self.error = self.error or Overfull("")
            self.completed = True
            self.close()

    def close(self) -> None:
        """Let go of the body; what is closed already stays so."""
        super().close()
        held, self._held = self._held, 0
        if self._share is not None and held:
            self._share.release(held)

    def parse_header(self, header_plus: bytes) -> None:
        """Read the header, and have a chunked body read more strictly than waitress does."""
        check_head(header_plus)
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            # What urlsplit finds wrong with brackets waitress lets through, to end the connection without a word.
            raise ParsingError("the target is no URI") from error
        if self.chunked:
            self.body_rcv = Chunks(self.body_rcv.getbuf(), self.adj.max_request_header_size)
