"""beanstalkd, by greenstalk, with two workers of ours: it is a queue and no more."""

from __future__ import annotations

import json
import multiprocessing

import greenstalk

from .. import jobs
from . import no_results

_FUNCTIONS = {function.__name__: function for function in (jobs.mark, jobs.true)}


class Client:
    """A client."""

    def __init__(self, address: str) -> None:
        self.connection = greenstalk.Client(address)
        self.fan_out = no_results

    def mark(self, path: str) -> None:
        """Hand in a function that leaves a mark there."""
        self.connection.put(json.dumps(["mark", path]))

    def true(self, path: str) -> None:
        """Hand in a function that runs a small program and then leaves a mark."""
        self.connection.put(json.dumps(["true", path]))

    def keep(self, payload: str) -> None:
        """Hand in a task that nobody is there to run."""
        self.connection.put(payload)


connect = Client


def work(address: str) -> None:
    """Work with two processes."""
    workers = [multiprocessing.Process(target=_work, args=(address,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(address: str) -> None:
    client = greenstalk.Client(address)
    while True:
        job = client.reserve()
        name, path = json.loads(job.body)
        _FUNCTIONS[name](path)
        client.delete(job)
