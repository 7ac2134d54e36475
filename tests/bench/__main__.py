"""`sh tests/bench/run`: what is measured, and where it is shown."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from . import commands, libraries, limits, short, taskd, textbook
from .daemon import Source
from .peer import WORKS, Peer
from .plan import Plan, demand_disk, measure
from .table import document, machine, markdown, rows

#: Not /tmp, which may be memory.
DISK = Path("/var/tmp")


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for."""
    asked = _parser().parse_args(arguments)
    if asked.needs:
        _print_needs(asked)
        return 0
    demand_disk(asked.directory)
    # Asked to end it ends as when interrupted, with all that it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if asked.short or asked.record:
        return short.run(_source(asked), asked.directory, asked.record, print)
    peers = _chosen(asked.peer, all_peers(_source(asked)), "peer")
    here = [peer for peer in peers if _is_here(peer)]
    plan = Plan(here, [work for work in WORKS if not asked.work or work in asked.work], asked.repeat, asked.long)
    samples = measure(plan, asked.directory, _say)
    found = rows(samples)
    print(", ".join(machine().values()))
    print(markdown(found, here))
    if asked.json:
        asked.json.write_text(document(samples, found, here))
    return 0


def all_peers(source: Source) -> list[Peer]:
    """Everybody."""
    return [taskd.peer_of(source), *libraries.peers(), *commands.peers(), *textbook.peers(), *limits.peers(source)]


def _chosen(names: Sequence[str] | None, peers: Sequence[Peer], what: str) -> list[Peer]:
    if unknown := set(names or ()) - {peer.name for peer in peers}:
        known = ", ".join(peer.name for peer in peers)
        raise SystemExit(f"there is no {what} {', '.join(sorted(unknown))}; there are {known}")
    return [peer for peer in peers if not names or peer.name in names]


def _print_needs(asked: argparse.Namespace) -> None:
    """What `run` is to install, as far as it can be had: a line for Debian's packages, one for Python's."""
    known = all_peers(_source(asked))
    chosen = [] if asked.short or asked.record else _chosen(asked.peer, known, "peer")
    print(*sorted({package for peer in chosen for package in peer.debian}))
    # One environment for all, whichever are chosen.
    print(*sorted({package for peer in known for package in peer.python if any(peer.python for peer in chosen)}))


def _is_here(peer: Peer) -> bool:
    if (why := peer.missing()) is not None:
        _say(f"{peer.name}: not here: {why}")
    return why is None


def _source(asked: argparse.Namespace) -> Source:
    return Source(asked.daemon.resolve(), asked.python.absolute())


def _parser() -> argparse.ArgumentParser:
    default = Source()
    everybody = ", ".join(peer.name for peer in all_peers(default))
    parser = argparse.ArgumentParser("tests/bench/run", description="Measure taskd beside other task queues.")
    parser.add_argument("--needs", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=_works, metavar="W1,…", help=f"only these of {', '.join(WORKS)}")
    parser.add_argument("--peer", type=_names, metavar="NAME,…", help=f"only these of {everybody}")
    parser.add_argument("--repeat", type=int, default=5, help="how often all is measured (5)")
    parser.add_argument("--long", action="store_true", help="also the sizes that take minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--short", action="store_true", help="only whether taskd has become slower")
    parser.add_argument("--record", action="store_true", help="record these ratios")
    parser.add_argument("--daemon", type=Path, default=default.daemon, metavar="DIR", help="the taskd to measure")
    parser.add_argument("--python", type=Path, default=default.python, metavar="FILE", help="what runs it")
    parser.add_argument("--directory", type=Path, default=DISK, metavar="DIR", help=f"on a real disk ({DISK})")
    return parser


def _names(text: str) -> list[str]:
    return text.split(",")


def _works(text: str) -> list[str]:
    names = _names(text)
    if unknown := set(names) - set(WORKS):
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    return names


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
