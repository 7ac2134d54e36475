"""The running service: who may use it, what the logs tell, and what systemctl does with it."""

from __future__ import annotations

import pytest

from .box import SOCKET, Box

pytestmark = pytest.mark.system


def test_install_starts_the_service(box: Box) -> None:
    """`apt install` is all: the service runs, starts at boot, and answers on its socket."""
    assert box.systemctl("is-active", "taskd") == "active"
    assert box.systemctl("is-enabled", "taskd") == "enabled"
    assert box.run_task("demo", {"step": 0})["state"] == "succeeded"


def test_install_gives_each_file_its_owner(box: Box) -> None:
    """The journal is the daemon's alone, the socket its group's, the configuration root's."""
    state = box.output("stat", "--format=%U:%G %a", "/var/lib/taskd", SOCKET, "/etc/taskd/taskd.toml")
    assert state.splitlines() == ["taskd:taskd 700", "taskd:taskd 660", "root:root 644"]


def test_member_of_the_group_is_served(box: Box) -> None:
    """Whoever is in the group taskd hands in tasks, and the task knows who it was."""
    task = box.run_task("demo", {"step": 0}, user="alice")
    assert task["state"] == "succeeded"
    assert task["submitted_by"]["user"] == "alice"


def test_others_are_refused_by_the_socket(box: Box) -> None:
    """Whoever is not in the group cannot even connect."""
    refused = box.run("curl", "--silent", "--unix-socket", SOCKET, "http://localhost/", user="mallory", check=False)
    assert refused.returncode == 7  # curl's "failed to connect"
    assert refused.stdout == ""


def test_journal_tells_of_a_task(box: Box) -> None:
    """A task's life stands in the journal, found by its number."""
    task = box.run_task("demo", {"step": 0})
    told = box.journal("--unit=taskd", f"TASK_ID={task['id']}")
    assert "succeeded" in told


def test_reload_takes_a_new_handler(box: Box) -> None:
    """`systemctl reload` makes a new handler known, without a restart."""
    pid = box.main_pid()
    box.write("/etc/taskd/conf.d/new.toml", '[handlers.new]\ncommand = ["/bin/true"]\n')
    box.systemctl("reload", "taskd")
    assert box.run_task("new", {})["state"] == "succeeded"
    assert box.main_pid() == pid


def test_bad_reload_fails_and_says_why(box: Box) -> None:
    """A reload with a mistake fails, the journal names the key, and the daemon goes on as it was."""
    bad = "/etc/taskd/conf.d/bad.toml"
    box.write(bad, "[limits]\nbodi = 1\n")
    try:
        assert not box.succeeds("systemctl", "reload", "taskd")
        assert "limits.bodi" in box.journal()
        assert box.run_task("demo", {"step": 0})["state"] == "succeeded"
    finally:
        box.path(bad).unlink()


def test_bad_configuration_is_not_tried_again(box: Box) -> None:
    """A start with a mistake in the configuration fails once and says why, rather than for ever."""
    bad = "/etc/taskd/conf.d/bad.toml"
    box.systemctl("stop", "taskd")
    box.write(bad, "[limits]\nbodi = 1\n")
    try:
        assert not box.succeeds("systemctl", "start", "taskd")
        assert box.property("ExecMainStatus") == "78"
        assert (box.property("ActiveState"), box.property("NRestarts")) == ("failed", "0")
        assert "limits.bodi" in box.journal()
    finally:
        box.path(bad).unlink()
        box.systemctl("start", "taskd")


def test_stop_stays_stopped(box: Box) -> None:
    """`systemctl stop` ends the daemon for good, without a failure; a start brings it back."""
    box.systemctl("stop", "taskd")
    try:
        assert box.property("ActiveState") == "inactive"
        assert not box.path(SOCKET).exists()
        assert box.run("pgrep", "-u", "taskd", check=False).stdout == ""
    finally:
        box.systemctl("start", "taskd")
    assert box.run_task("demo", {"step": 0})["state"] == "succeeded"


@pytest.mark.parametrize("page", ["taskd(8)", "taskd.toml(5)"])
def test_manual_pages_are_there(box: Box, page: str) -> None:
    """The pages that `systemctl status` names can be read."""
    name, _, section = page.rstrip(")").partition("(")
    assert f"man:{page}" in box.systemctl("show", "--property=Documentation", "taskd")
    assert box.path(f"/usr/share/man/man{section}/{name}.{section}.gz").exists()
