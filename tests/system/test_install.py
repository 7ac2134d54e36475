"""From apt install to apt purge, each in a freshly booted box without a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from .box import SOCKET, Box

pytestmark = pytest.mark.system


def traces(box: Box) -> list[str]:
    """Answer every file that may have come from the package, but for the logs and dpkg's own notes."""
    skipped = ("/proc", "/sys", "/dev", "/dist", "/var/log/journal", "/run/log", "/var/log/apt")
    prune = [part for path in skipped for part in ("-path", path, "-prune", "-o")]
    return box.output("find", "/", *prune, "-iname", "*taskd*", "-print").splitlines()


def test_remove_keeps_tasks_and_configuration(own_box: Box, deb: Path) -> None:
    """`apt remove` ends the service; a later install finds every task and setting where it was."""
    task = own_box.run_task("demo", {"step": 0})
    own_box.write("/etc/taskd/conf.d/mine.toml", '[handlers.mine]\ncommand = ["/bin/true"]\n')
    own_box.run("apt-get", "remove", "-y", "taskd-runner")
    assert not own_box.path(SOCKET).exists()
    assert not own_box.succeeds("systemctl", "is-active", "taskd")
    own_box.install(f"/dist/{deb.name}")
    assert own_box.ask(f"/tasks/{task['id']}")["state"] == "succeeded"
    assert own_box.run_task("mine", {})["state"] == "succeeded"


def test_purge_leaves_nothing(own_box: Box) -> None:
    """`apt purge` removes every file: program, configuration, journal, socket and unit."""
    own_box.run_task("demo", {"step": 0})
    own_box.write("/etc/taskd/conf.d/mine.toml", "")
    own_box.run("apt-get", "purge", "-y", "taskd-runner")
    assert traces(own_box) == []


def test_purge_spares_the_other_taskd(own_box: Box) -> None:
    """Whoever moves on to Debian 12's taskd and then purges this package keeps the other's data."""
    own_box.run("apt-get", "remove", "-y", "taskd-runner")
    own_box.write("/usr/bin/taskd", "another program")
    own_box.write("/var/lib/taskd/orgs/data", "another's data")
    own_box.run("apt-get", "purge", "-y", "taskd-runner")
    assert own_box.path("/var/lib/taskd/orgs/data").read_text() == "another's data"


def test_upgrade_keeps_tasks_and_downgrade_too(own_box: Box, deb: Path, newer_deb: Path) -> None:
    """After `apt upgrade` the new version serves the tasks of the old one; likewise after going back."""
    task = own_box.run_task("demo", {"step": 0})
    for file in (newer_deb, deb):
        own_box.install(f"/dist/{file.name}")
        assert own_box.systemctl("is-active", "taskd") == "active"
        assert own_box.ask(f"/tasks/{task['id']}")["state"] == "succeeded"
