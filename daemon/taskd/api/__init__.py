"""HTTP to and from the words: an application factory, and a module for each kind of thing that is asked for.

Views run on the server's threads. They read the journal through the Reader, put everything else into the inbox, and
wait; what may be waited for long takes a place in the waiting room first.
"""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import BaseConverter, Map

from . import (
    about,
    batches,
    control,
    events,
    guard,
    listing,
    metrics,
    once,
    openapi,
    output,
    problems,
    queues,
    routes,
    schedules,
    steer,
    tasks,
)
from .express import Express
from .recent import Recent
from .services import Services, WaitingRoom

__all__ = ["Express", "Services", "WaitingRoom", "create_app"]

#: Ids are SQLite integers; what is larger never was one.
_MAX_ID = 2**63 - 1


class Id(BaseConverter):
    """A number in a path, however long: one that is too large stands for the largest, which is nobody's."""

    regex = "[0-9]+"

    def to_python(self, value: str) -> int:
        """Read it."""
        # int() of thousands of digits would raise.
        return min(int(value[:30]), _MAX_ID)


def create_app(services: Services) -> Flask:
    """Make the WSGI application."""
    app = Flask("taskd", static_folder=None)
    app.extensions["taskd"] = services
    app.extensions["taskd.recent"] = Recent(services.reader)
    # A path is what it is: //task is answered with 404, not with a redirect that curl would not follow.
    app.url_map = Map(converters={"id": Id}, merge_slashes=False)
    guard.register(app, services.config().daemon.hosts)
    views = (about, tasks, batches, listing, output, steer, queues, schedules, events, control, metrics, openapi)
    routes.register(app, views)
    problems.register(app)
    once.register(app)
    app.wsgi_app = metrics.Counted(app.wsgi_app, services.metrics.requests)  # type: ignore[method-assign]  # as Flask says
    return app
