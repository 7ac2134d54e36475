"""Whose turn it is, with real threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fakes import PATIENCE, SUCCESS, Site, config
from helpers import eventually
from taskd.server.pool import Pool
from taskd.turns import Gate, Rounds, aside


class Piece:
    """Work that says who did it, and then waits to be let go."""

    def __init__(self, uid: int, begun: list[int], away: bool = False) -> None:
        self.uid = uid
        self.opened = threading.Event()
        self.over = threading.Event()
        self._begun = begun
        self._away = away

    def service(self) -> None:
        """Do it."""
        self._begun.append(self.uid)
        if self._away:
            with aside():
                assert self.opened.wait(PATIENCE)
        else:
            assert self.opened.wait(PATIENCE)
        self._begun.append(-self.uid)
        self.over.set()


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool of which one thread works at a time."""
    pool = Pool(most=20, least=1, patience=0.05, active=1)
    yield pool
    pool.shutdown()
    eventually(lambda: pool.size == 0)


def test_users_take_turns() -> None:
    """However much one has asked for, the next of another is one round away, and each user's are in order."""
    rounds: Rounds[str] = Rounds()
    for user, item in [(1, "a"), (1, "b"), (1, "c"), (2, "d"), (None, "e"), (2, "f")]:
        rounds.add(user, item)
    assert [rounds.take() for _ in range(3)] == ["a", "d", "e"]
    rounds.add(3, "g")
    assert [rounds.take() for _ in range(4)] == ["b", "f", "g", "c"]
    assert not rounds


def test_the_pool_serves_users_in_turns(pool: Pool) -> None:
    """A hundred requests of one user do not make another one wait for more than one of them."""
    begun: list[int] = []
    flood, honest = [Piece(1, begun) for _ in range(100)], Piece(2, begun)
    for piece in (*flood, honest):
        pool.add_task(piece)
        piece.opened.set()
    for piece in (*flood, honest):
        assert piece.over.wait(PATIENCE)
    assert 2 in begun[:6]
    assert begun[::2] == [-uid for uid in begun[1::2]]


def test_who_waits_lets_others_work(pool: Pool) -> None:
    """Requests that wait take no turn from those that would be answered at once, and have one of their own after it."""
    begun: list[int] = []
    waiting = [Piece(1, begun, away=True) for _ in range(10)]
    for piece in waiting:
        pool.add_task(piece)
    eventually(lambda: len(begun) == 10)
    busy = Piece(2, begun)
    pool.add_task(busy)
    eventually(lambda: 2 in begun)
    for piece in waiting:
        piece.opened.set()
    assert not waiting[0].over.wait(0.05)
    busy.opened.set()
    assert all(piece.over.wait(PATIENCE) for piece in (busy, *waiting))


def test_who_comes_back_and_who_is_new_take_turns(pool: Pool) -> None:
    """Neither may keep the other out: not a thousand that were woken at once, nor a stream of new requests."""
    begun: list[int] = []
    waiting = [Piece(1, begun, away=True) for _ in range(5)]
    for piece in waiting:
        pool.add_task(piece)
    eventually(lambda: len(begun) == 5)
    busy, new = Piece(2, begun), [Piece(1, begun) for _ in range(5)]
    pool.add_task(busy)
    eventually(lambda: 2 in begun)
    for piece in (*new, *waiting):
        piece.opened.set()
    for piece in new:
        pool.add_task(piece)
    # Each of them wants to go on now.
    eventually(lambda: _waiting_to_go_on(pool) == 5)
    busy.opened.set()
    assert all(piece.over.wait(PATIENCE) for piece in (*new, *waiting))
    # A new one says two things, one that goes on says one.
    assert begun[begun.index(-2) + 1 :] in ([1, -1, -1] * 5, [-1, 1, -1] * 5)


def _waiting_to_go_on(pool: Pool) -> int:
    return sum(len(line) for line in pool._back._lines.values())


def test_a_closed_pool_keeps_nobody_who_waits(pool: Pool) -> None:
    """At a stop every request that waited is answered, and its thread ends."""
    begun: list[int] = []
    waiting = [Piece(1, begun, away=True) for _ in range(5)]
    for piece in waiting:
        pool.add_task(piece)
    eventually(lambda: len(begun) == 5)
    busy = Piece(2, begun)
    pool.add_task(busy)
    eventually(lambda: 2 in begun)
    waiting[0].opened.set()
    eventually(lambda: _waiting_to_go_on(pool) == 1)
    pool.shutdown()
    assert waiting[0].over.wait(PATIENCE)
    for piece in (busy, *waiting):
        piece.opened.set()
    assert all(piece.over.wait(PATIENCE) for piece in (busy, *waiting))


def test_a_gate_lets_users_through_in_turns() -> None:
    """One at a time, the users in turn, and whoever fails inside makes room too."""
    gate, order = Gate(), []
    first = threading.Event()

    def go(uid: int) -> None:
        with gate.turn(uid):
            order.append(uid)
            assert first.wait(PATIENCE)
            raise ZeroDivisionError

    with ThreadPoolExecutor(10) as threads:
        waits: list[Any] = []
        for count, uid in enumerate([1, 1, 1, 1, 2, 3]):
            waits.append(threads.submit(go, uid))
            eventually(lambda: len(order) + _at(gate) == count + 1)  # noqa: B023 - it is called in here
        first.set()
        assert all(isinstance(wait.exception(PATIENCE), ZeroDivisionError) for wait in waits)
    assert order == [1, 1, 2, 3, 1, 1]


@pytest.mark.parametrize("path", ["/tasks", "/run-tasks"])
def test_requests_with_many_tasks_are_read_one_at_a_time(sites: Callable[..., Site], path: str) -> None:
    """Whoever hands in one task, or a few, waits for the commit of one such request, and never for the next one's."""
    site = sites(config())
    site.rig.executor.answer = lambda _: SUCCESS
    gate = site.app.extensions["taskd"].many_in
    many = [{"payload": "x" * 100}] * 100
    with ThreadPoolExecutor(1) as threads:
        with gate.turn(None):
            waits = threads.submit(site.post, path, many)
            eventually(lambda: _at(gate) == 1)
            assert site.post(path, many[:3]).status_code < 300
            assert site.post("/task", 1).status_code == 202
            assert not waits.done()
        assert waits.result(PATIENCE).status_code < 300
    assert site.rows() == 104


@pytest.mark.parametrize("path", ["/tasks?limit=101", "/tasks?label=x", "/batches", "/batches/1"])
def test_long_listings_are_made_one_at_a_time(sites: Callable[..., Site], path: str) -> None:
    """A hundred of them keep the processor from nobody who asks for one task, or for the newest."""
    site = sites(config())
    site.rig.executor.answer = lambda _: SUCCESS
    site.post("/run-tasks", [{}] * 101)
    gate = site.app.extensions["taskd"].many_out
    with ThreadPoolExecutor(1) as threads:
        with gate.turn(None):
            waits = threads.submit(site.get, path)
            eventually(lambda: _at(gate) == 1)
            assert site.get("/tasks/1").status_code == site.get("/tasks").status_code == 200
            assert not waits.done()
        assert waits.result(PATIENCE).status_code == 200
    assert len(site.get("/batches/1").get_json()["tasks"]) == 101


def _at(gate: Gate) -> int:
    return sum(len(line) for line in gate._waiting._lines.values())
