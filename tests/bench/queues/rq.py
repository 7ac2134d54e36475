"""RQ, with a process for each task, as it comes."""

from __future__ import annotations

import functools
import multiprocessing

from redis import Redis
from rq import Queue, Worker

from .. import jobs


class Client:
    """A client."""

    def __init__(self, address: str) -> None:
        self._queue = Queue("bench", connection=Redis(unix_socket_path=address))
        self.mark = functools.partial(self._queue.enqueue, jobs.mark)
        self.true = functools.partial(self._queue.enqueue, jobs.true)
        self.keep = functools.partial(self._queue.enqueue, jobs.noop)

    def fan_out(self, count: int) -> None:
        """Wait for each result in turn."""
        many = [Queue.prepare_data(jobs.noop, result_ttl=500) for _ in range(count)]
        for job in self._queue.enqueue_many(many):
            job.latest_result(timeout=60)


connect = Client


def work(address: str) -> None:
    """Work with two workers."""
    workers = [multiprocessing.Process(target=_work, args=(address,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(address: str) -> None:
    Worker(["bench"], connection=Redis(unix_socket_path=address)).work(logging_level="WARNING")
