"""dramatiq on Redis, with its results there too."""

from __future__ import annotations

import multiprocessing
import signal

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from redis import Redis

from .. import jobs


class Client:
    """A client, and what the worker knows of the tasks."""

    def __init__(self, address: str) -> None:
        client = Redis(unix_socket_path=address)
        self.broker = RedisBroker(client=client)
        self.broker.add_middleware(Results(backend=RedisBackend(client=client)))
        self._noop = dramatiq.actor(jobs.noop, broker=self.broker, store_results=True)
        mark, true, keep = (
            dramatiq.actor(function, broker=self.broker, actor_name=name)
            for name, function in (("mark", jobs.mark), ("true", jobs.true), ("keep", _keep))
        )
        self.mark, self.true, self.keep = mark.send, true.send, keep.send

    def fan_out(self, count: int) -> None:
        """Wait for a group."""
        group = dramatiq.group([self._noop.message() for _ in range(count)], broker=self.broker).run()
        for _ in group.get_results(block=True, timeout=60_000):
            pass


def _keep(payload: str) -> None:
    del payload


connect = Client


def work(address: str) -> None:
    """Work with two processes of one thread each."""
    workers = [multiprocessing.Process(target=_work, args=(address,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(address: str) -> None:
    worker = dramatiq.Worker(Client(address).broker, worker_threads=1)
    worker.start()
    signal.pause()
