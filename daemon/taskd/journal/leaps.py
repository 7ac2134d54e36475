"""The SQL that finds the few different lines among millions of queued tasks: in leaps over the index, from one to the
next, where DISTINCT and GROUP BY would read every entry. Pure.
"""

from __future__ import annotations

_QUEUED = "FROM tasks INDEXED BY tasks_queued WHERE state = 'queued'"

_LEAPS = f"""
    WITH RECURSIVE
    queues (queue) AS (
        SELECT min(queue) {_QUEUED}
        UNION ALL
        SELECT (SELECT min(queue) {_QUEUED} AND queue > queues.queue) FROM queues WHERE queue IS NOT NULL
    ),
    lines (queue, lane) AS (
        SELECT queue, (SELECT min(lane) {_QUEUED} AND queue = queues.queue) FROM queues WHERE queue IS NOT NULL
        UNION ALL
        SELECT queue, (SELECT min(lane) {_QUEUED} AND queue = lines.queue AND lane > lines.lane)
        FROM lines WHERE lane IS NOT NULL
    ),
    ranks (queue, lane, priority) AS (
        SELECT queue, lane, (SELECT max(priority) {_QUEUED} AND queue = lines.queue AND lane = lines.lane)
        FROM lines WHERE lane IS NOT NULL
        UNION ALL
        SELECT queue, lane, (
            SELECT max(priority) {_QUEUED} AND queue = ranks.queue AND lane = ranks.lane AND priority < ranks.priority
        )
        FROM ranks WHERE priority IS NOT NULL
    )
"""  # noqa: S608 - our own text

#: Queue and lane of each line with queued tasks.
LINES = f"{_LEAPS} SELECT queue, lane FROM lines WHERE lane IS NOT NULL"  # noqa: S608

#: By queue, when the oldest of its queued tasks was handed in.
OLDEST = f"""
    {_LEAPS}
    SELECT oldest.queue, tasks.submitted_at
    FROM (
        SELECT queue, min((
            SELECT min(id) {_QUEUED}
            AND queue = ranks.queue AND lane = ranks.lane AND priority = ranks.priority
        )) AS id
        FROM ranks WHERE priority IS NOT NULL GROUP BY queue
    ) AS oldest
    JOIN tasks ON tasks.id = oldest.id
"""  # noqa: S608
