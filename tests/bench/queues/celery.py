"""Celery, on Redis or on RabbitMQ with publisher confirms, whichever the address is of."""

from __future__ import annotations

from typing import Any

from celery import Celery, group

from .. import jobs


class Client:
    """A client, and what the worker knows of the tasks."""

    def __init__(self, address: str) -> None:
        url = address if address.startswith("amqp:") else f"redis+socket://{address}"
        results = "rpc://" if address.startswith("amqp:") else url
        self.app: Any = Celery("bench", broker=url, backend=results)
        if address.startswith("amqp:"):
            self.app.conf.broker_transport_options = {"confirm_publish": True}
        self._mark, self._true, self._keep = (
            self.app.task(name=function.__name__, ignore_result=True)(function)
            for function in (jobs.mark, jobs.true, _keep)
        )
        self._noop = self.app.task(name="noop")(jobs.noop)
        self.mark, self.true, self.keep = self._mark.delay, self._true.delay, self._keep.delay

    def fan_out(self, count: int) -> None:
        """Wait for a group."""
        group(self._noop.s() for _ in range(count))().get()


def _keep(payload: str) -> None:
    del payload


connect = Client


def work(address: str) -> None:
    """Work with two processes."""
    options = ["--concurrency=2", "--loglevel=warning", "--without-gossip", "--without-mingle"]
    Client(address).app.worker_main(["worker", *options])
