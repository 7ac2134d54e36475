"""The main thread's mail: whatever comes ends the wait, in its order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from fakes import PATIENCE
from taskd.mail import Mail


@pytest.fixture
def mail() -> Iterator[Mail]:
    """A mail that takes a signal."""
    mail = Mail()
    former = signal.getsignal(signal.SIGUSR1)
    with mail.catch((signal.SIGUSR1,)):
        yield mail
    assert signal.getsignal(signal.SIGUSR1) is former
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_ends_the_wait_whatever_thread_it_meets(mail: Mail) -> None:
    """Also where the main thread is not the one that the system interrupts for it."""

    def meet() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    timer = threading.Timer(0.1, meet)
    timer.start()
    assert mail.get(PATIENCE) is signal.SIGUSR1
    timer.join()


def test_letters_and_signals_come_in_their_order(mail: Mail) -> None:
    """From all threads, and none is lost."""
    done: list[int] = []
    for number in range(3):
        mail.put(lambda number=number: done.append(number))  # type: ignore[misc]
        signal.raise_signal(signal.SIGUSR1)
    for _ in range(3):
        letter = mail.get(PATIENCE)
        assert callable(letter)
        letter()
        assert mail.get(PATIENCE) is signal.SIGUSR1
    assert done == [0, 1, 2]


@pytest.mark.parametrize("timeout", [0.0, 0.0005, 0.01])
def test_nothing_comes_in_time(mail: Mail, timeout: float) -> None:
    """The wait ends when it was to."""
    assert mail.get(timeout) is None


def test_a_letter_of_another_thread_ends_the_wait(mail: Mail) -> None:
    """However long that was to be."""

    def letter() -> None:
        raise AssertionError("it is for the main thread to open")

    timer = threading.Timer(0.1, mail.put, [letter])
    timer.start()
    assert mail.get(None) is letter
    timer.join()
