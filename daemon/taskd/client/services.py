"""Calls for what is not a task: queues, schedules, handlers, and the daemon itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .calls import Calls, Deadline, named
from .transport import Request
from .views import Handler, Queue, Schedule, TaskView


class ServiceCalls(Calls):
    """What can be asked of the daemon, and done with its queues and schedules."""

    def queues(self) -> list[Queue]:
        """Every queue."""
        return list(self._listed("/queues", "queues", Queue, None, {}))

    def queue(self, name: str, wait: float = 0.0) -> Queue:
        """A queue, at once, or after at most `wait` seconds when it is empty."""

        def ask(seconds: float) -> Queue:
            return Queue.of(self._get(named("/queues", name), {"wait": seconds or None}, seconds))

        return self._until(ask, lambda queue: queue.empty, Deadline(wait))

    def pause(self, queue: str) -> Queue:
        """Have a queue start nothing, and accept all the same."""
        return Queue.of(self._post(f"{named('/queues', queue)}/pause"))

    def resume(self, queue: str) -> Queue:
        """Have a queue that was paused or drained go on."""
        return Queue.of(self._post(f"{named('/queues', queue)}/resume"))

    def drain(self, queue: str) -> Queue:
        """Have a queue accept nothing, and finish what it has."""
        return Queue.of(self._post(f"{named('/queues', queue)}/drain"))

    def schedules(self) -> list[Schedule]:
        """Every schedule."""
        return list(self._listed("/schedules", "schedules", Schedule, None, {}))

    def schedule(self, name: str) -> Schedule:
        """A schedule."""
        return Schedule.of(self._get(named("/schedules", name)))

    def run_schedule(self, name: str) -> TaskView:
        """Queue a schedule's task now."""
        return TaskView.of(self._post(f"{named('/schedules', name)}/run"))

    def pause_schedule(self, name: str) -> Schedule:
        """Have a schedule rest."""
        return Schedule.of(self._post(f"{named('/schedules', name)}/pause"))

    def resume_schedule(self, name: str) -> Schedule:
        """Have a schedule go on."""
        return Schedule.of(self._post(f"{named('/schedules', name)}/resume"))

    def handlers(self) -> list[Handler]:
        """Every handler."""
        return list(self._listed("/handlers", "handlers", Handler, None, {}))

    def about(self) -> Mapping[str, Any]:
        """What the daemon is, its version and every path."""
        return self._mapping("/")

    def stats(self) -> Mapping[str, Any]:
        """Figures for people."""
        return self._mapping("/stats")

    def openapi(self) -> Mapping[str, Any]:
        """The description of the API that programs read."""
        return self._mapping("/openapi.json")

    def metrics(self) -> str:
        """Figures as Prometheus reads them."""
        request = Request("GET", "/metrics", repeatable=True)
        return self._transport.call(request, lambda response: response.body.read()).decode()

    def health(self) -> Mapping[str, Any]:
        """How the daemon is, asked once; raises NotReady where it does not get on with its work, and Unreachable."""
        return self._now("/health")

    def ready(self) -> None:
        """Return if work is accepted, asked once; raises what stands in the way: Draining, NotReady, Unreachable, …"""
        self._now("/ready")

    def reload(self) -> int:
        """Have the configuration read again; answer how many handlers there are. Raises ValidationFailed, Forbidden."""
        return int(self._post("/reload")["handlers"])

    def _mapping(self, path: str) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._get(path)
        return answer

    def _now(self, path: str) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._transport.json(Request("GET", path, patient=False))
        return answer
