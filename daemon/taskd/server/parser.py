"""A request as it arrives: waitress's parser, with every doubtful request refused before waitress reads it.

The server's thread calls it. The invariant: a request is either whole and without doubt, or has an error, and then its
connection takes no other.
"""

from __future__ import annotations

from typing import Any

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest

from .chunks import Chunks
from .head import check_beginning, check_head


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
        if self.completed:
            self.expect_continue = False
        # Behind an error there is no telling where the next request begins.
        return len(data) if self.error else taken

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
