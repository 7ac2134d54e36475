"""Change while it works: journals of former versions, a journal of a newer one, and backups under load."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from helpers import eventually
from process import environment
from taskd.journal.files import SCHEMA_VERSION

from .. import broken, witness
from ..check import Check, Figure, Run
from ..clients import Acknowledged
from ..load import Load, config
from ..recorded import FIRST, KEY, MORE, records, restore
from ..victim import PATIENCE, Ended, Victim, python
from .points import faults_of

UNIT = Path(__file__).parents[3] / "taskd.service"
_ENDED = "SELECT id, state, payload FROM tasks WHERE finished_at IS NOT NULL"
#: Seconds that each client rests, so that the journal stays small enough to be looked at each time.
REST = 0.3
#: Of a record, what waits for its time may wait on; the rest must run.
_WAITING = "SELECT payload FROM tasks WHERE state NOT IN ('succeeded', 'failed', 'cancelled', 'scheduled', 'held')"


def _victim(directory: Path, way: str, more: str = MORE.format(seconds=0)) -> Victim:
    directory.mkdir()
    return Victim(directory, config(directory) + more, broken.program(way) if way else ())


def _records(_size: int, directory: Path, way: str = "") -> Figure:
    """Every recorded journal opens, is migrated, keeps what it had, and goes on."""
    versions = sorted(records())
    faults = [f"version {SCHEMA_VERSION} is not recorded"] * (SCHEMA_VERSION not in versions)
    tasks = 0
    for version in versions:
        with closing(_victim(directory / str(version), way)) as victim:
            victim.state.mkdir()
            restore(records()[version], victim.state / "journal.db")
            tasks += victim.journal("SELECT count(*) FROM tasks")[0][0]
            try:
                faults += [f"version {version}: {fault}" for fault in _faults_of_record(victim)]
            except Ended as error:
                faults.append(f"version {version} is not opened: {error}")
    return Figure.of(f"versions {versions} with {tasks} tasks opened, migrated and run", faults)


def _faults_of_record(victim: Victim) -> Iterator[str]:
    ended = set(victim.journal(_ENDED))
    victim.start()
    if (version := victim.journal("PRAGMA user_version")[0][0]) != SCHEMA_VERSION:
        yield f"it is still version {version}"
    victim.post("/queues/parked/resume")
    eventually(lambda: not victim.journal(_WAITING), PATIENCE)
    if os.geteuid() == 0 and (again := victim.post(*FIRST, **{"Idempotency-Key": KEY}).json.get("id")) != 1:
        yield f"its key is forgotten: asked again it is task {again}"
    now = set(victim.journal(_ENDED))
    if changed := ended - now:
        yield f"what was final has changed: {changed}"
    if failed := [row for row in now - ended if row[1] != "succeeded"]:
        yield f"what waited has failed: {failed}"
    yield from victim.faults


def _newer(_size: int, directory: Path, way: str = "") -> Figure:
    """A journal of a newer version is left as it is, with a status on which systemd does not start it again."""
    with closing(_victim(directory / "newer", way)) as victim:
        victim.state.mkdir()
        path = victim.state / "journal.db"
        restore(records()[SCHEMA_VERSION], path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        before = path.read_bytes()
        try:
            victim.start()
            status = None
        except Ended:
            status = victim.process.returncode
        faults = [] if status in _final_statuses() else [f"status {status}: systemd would start it again"]
        faults += ["it was changed"] * (path.read_bytes() != before)
    return Figure.of(f"version {SCHEMA_VERSION + 1} refused with {status}, one of {sorted(_final_statuses())}", faults)


def _final_statuses() -> set[int]:
    found = re.search(r"^RestartPreventExitStatus=(.*)$", UNIT.read_text(), re.MULTILINE)
    return {int(status) for status in found[1].split()} if found else set()


def _backups(count: int, directory: Path, way: str = "") -> Figure:
    """Backups under load: each is of one moment and has all that was acknowledged before; the last one is restored."""
    faults, known, target = list[str](), list[Acknowledged](), directory
    with closing(_victim(directory / "under-load", "", "")) as victim:
        victim.start()
        with Load(victim.socket, directory / "record", REST) as load:
            for number in range(count):
                eventually(load.news, PATIENCE)
                known, target = list(load.acknowledged), directory / f"backup-{number}"
                faults += _faults_of_copying(victim, target, way) or _faults_of_backup(target, known)
    if not faults:
        faults += _faults_of_restored(target, known, directory / "restored")
    tasks = sum(len(one.ids) for one in known)
    return Figure.of(f"{count} under load: each has all acknowledged before it, the last {tasks:,}, and runs", faults)


def _faults_of_copying(victim: Victim, target: Path, way: str) -> list[str]:
    done = subprocess.run(_backing_up(victim, target, way), capture_output=True, env=environment(), check=False)
    return [f"status {done.returncode}: {done.stderr.decode()}"] if done.returncode else []


def _backing_up(victim: Victim, target: Path, way: str) -> list[str]:
    taskd = broken.program(way) if way else python("taskd")
    return [*taskd, "--config", str(victim.config_file), "--backup", str(target)]


def _faults_of_backup(target: Path, known: list[Acknowledged]) -> list[str]:
    """What is wrong with it, as a file by itself."""
    state = target.with_name("look")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    shutil.copy(target, state / "journal.db")
    if faults := faults_of(state / "journal.db"):
        return faults
    try:
        journal = witness.Journal.read(state)
    except sqlite3.Error as error:
        return [f"it cannot be read: {error}"]
    return [*witness.lost(known, journal), *_torn(journal)]


def _torn(journal: witness.Journal) -> Iterator[str]:
    """Requests of which only a part is there: it would not be one moment's."""
    bulks = Counter(row.payload.rpartition(".")[0] for row in journal.rows.values() if "-bulk" in row.payload)
    if torn := [f"{token} has {count} tasks" for token, count in bulks.items() if count != max(bulks.values())]:
        yield f"parts of requests: {torn[:3]}"


def _faults_of_restored(backup: Path, known: list[Acknowledged], directory: Path) -> Iterator[str]:
    with closing(_victim(directory, "", "")) as victim:
        victim.state.mkdir()
        shutil.copy(backup, victim.state / "journal.db")
        victim.start()
        # What comes now runs, among what waited in the backup.
        assert victim.task(victim.submit("function", "after", "&priority=9"), PATIENCE)["state"] == "succeeded"
        yield from witness.lost(known, witness.Journal.read(victim.state))
        yield from victim.faults


def _control(run: Run, way: str) -> Run:
    return partial(run, way=way)


CHECKS = (
    Check("rolling-former", "runs", 1, 1, _records, {"forgets what was final": _control(_records, "forgetful")}),
    Check("rolling-newer", "runs", 1, 1, _newer, {"takes a newer one": _control(_newer, "bold")}),
    Check("rolling-backup", "backups", 20, 200, _backups, {"copies the file": _control(_backups, "copied-file")}, 3),
)
