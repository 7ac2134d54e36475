"""What the daemon counts about itself, and how that is shown: to Prometheus, and to people.

`counts` is written on the hot path, by the scheduler's thread and by those that serve requests, and costs them a
microsecond; `sources` is asked of others when somebody looks. Any thread may render. The invariant: the library that
Prometheus' text takes is imported at the first scrape, and not before.
"""

from __future__ import annotations

from .counts import Metrics, Requests
from .sources import Sources
from .stats import stats

__all__ = ["Metrics", "Requests", "Sources", "render", "stats"]


def render(metrics: Metrics, sources: Sources, accept: str = "") -> tuple[bytes, str]:
    """Any thread: everything in Prometheus' text, or in OpenMetrics' if `accept` asks for that; and its content type.

    The first call imports the library, which takes some milliseconds and a MiB.
    """
    from .prometheus import exposition  # noqa: PLC0415 - who is not scraped does not pay for it

    return exposition(metrics, sources, accept)
