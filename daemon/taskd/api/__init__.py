"""HTTP to and from the words: an application factory, and a module for each kind of thing that is asked for.

Views run on the server's threads. They read the journal through the Reader, put everything else into the inbox, and
wait; what may be waited for long takes a place in the waiting room first.
"""

from __future__ import annotations

from flask import Flask

from . import about, batches, control, problems, tasks
from .services import Services, WaitingRoom

__all__ = ["Services", "WaitingRoom", "create_app"]


def create_app(services: Services) -> Flask:
    """Make the WSGI application."""
    app = Flask("taskd", static_folder=None)
    app.extensions["taskd"] = services
    for module in (about, tasks, batches, control):
        app.register_blueprint(module.blueprint)
    problems.register(app)
    return app
