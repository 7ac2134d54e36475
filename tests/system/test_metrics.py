"""The timer that writes the metrics for node-exporter, and the service that it starts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from helpers import eventually

from .box import Box

pytestmark = pytest.mark.system
DIRECTORY = "/var/lib/prometheus/node-exporter"
FILE = f"{DIRECTORY}/taskd.prom"
SERVICE, TIMER = "taskd-metrics.service", "taskd-metrics.timer"


@pytest.fixture
def exporting(box: Box) -> Iterator[Box]:
    """The box with node-exporter's directory, as its package makes it."""
    box.run("install", "-d", DIRECTORY)
    yield box
    box.run("rm", "-r", "/var/lib/prometheus")


def failed(box: Box) -> bool:
    """Whether the last run failed."""
    return box.succeeds("systemctl", "is-failed", SERVICE)


def test_metrics_are_written_whole(exporting: Box) -> None:
    """The service leaves one file that everyone may read and Prometheus understands, and nothing beside it."""
    exporting.systemctl("start", SERVICE)
    assert exporting.output("ls", "-A", DIRECTORY) == "taskd.prom"
    assert exporting.output("stat", "--format=%U:%G %a", FILE) == "root:root 644"
    read = {family.name: family for family in families(exporting.path(FILE).read_text())}
    assert read["taskd_build_info"].samples[0].value == 1
    assert all(name.startswith("taskd_") for name in read)
    assert exporting.journal("--unit", SERVICE) == "", "nothing to say"


def test_the_timer_is_for_those_who_enable_it(exporting: Box) -> None:
    """As shipped it is off; enabled, it writes again and again."""
    assert exporting.run("systemctl", "is-enabled", TIMER, check=False).stdout.strip() == "disabled"
    drop_in = f"/etc/systemd/system/{TIMER}.d/fast.conf"
    exporting.write(drop_in, "[Timer]\nOnUnitActiveSec=\nOnActiveSec=0\nOnUnitActiveSec=1s\nAccuracySec=10ms\n")
    exporting.systemctl("daemon-reload")
    file = exporting.path(FILE)
    try:
        exporting.systemctl("enable", "--now", TIMER)
        written = {eventually(file.exists) and file.stat().st_mtime_ns}
        eventually(lambda: written.add(file.stat().st_mtime_ns) or len(written) > 2, 20)
    finally:
        exporting.systemctl("disable", "--now", TIMER)
        exporting.run("rm", "-r", f"/etc/systemd/system/{TIMER}.d")
        exporting.systemctl("daemon-reload")


def test_a_taskd_that_is_stopped_leaves_no_old_figures(exporting: Box) -> None:
    """Its file goes, and that is no failure; it is back with taskd."""
    exporting.systemctl("start", SERVICE)
    exporting.systemctl("stop", "taskd")
    try:
        exporting.systemctl("start", SERVICE)
        assert exporting.output("ls", "-A", DIRECTORY) == ""
        assert not failed(exporting)
    finally:
        exporting.systemctl("start", "taskd")
    exporting.systemctl("start", SERVICE)
    assert exporting.path(FILE).exists()


def test_a_taskd_that_does_not_answer_is_a_failure(exporting: Box) -> None:
    """One that says why, and leaves no file either."""
    exporting.systemctl("start", SERVICE)
    exporting.write(f"/run/systemd/system/{SERVICE}.d/deaf.conf", "[Service]\nTimeoutStartSec=1s\n")
    exporting.systemctl("daemon-reload")
    exporting.run("systemctl", "kill", "--signal=STOP", "taskd")
    try:
        assert not exporting.succeeds("systemctl", "start", SERVICE)
    finally:
        exporting.run("systemctl", "kill", "--signal=CONT", "taskd")
        exporting.run("rm", "-r", f"/run/systemd/system/{SERVICE}.d")
        exporting.systemctl("daemon-reload")
        exporting.systemctl("reset-failed", SERVICE)
    assert exporting.output("ls", "-A", DIRECTORY) == ""
    assert "timed out" in exporting.journal("--unit", SERVICE)


def test_without_node_exporter_nothing_fails(box: Box) -> None:
    """Timer and service are skipped, and say once what is missing; nothing is tried again and again."""
    box.systemctl("start", TIMER)
    assert not box.succeeds("systemctl", "is-active", TIMER)
    assert f"ConditionPathIsDirectory={DIRECTORY}" in box.journal("--unit", TIMER)
    box.systemctl("start", SERVICE)
    assert not failed(box)
    assert "install prometheus-node-exporter" in box.journal("--unit", SERVICE)


def test_the_service_may_do_little(box: Box) -> None:
    """It is scored 0.8 or better by systemd."""
    told = box.output("systemd-analyze", "security", "--no-pager", SERVICE)
    found = re.search(rf"exposure level for {SERVICE}: ([\d.]+)", told)
    assert found, told
    assert float(found[1]) <= 0.8, told


def test_removal_takes_timer_and_file_along(own_box: Box) -> None:
    """After `apt remove` nothing runs, and node-exporter is not left with figures that stay for ever."""
    own_box.run("install", "-d", DIRECTORY)
    own_box.systemctl("enable", "--now", TIMER)
    eventually(own_box.path(FILE).exists, 20)
    own_box.run("apt-get", "remove", "-y", "taskd-runner")
    assert own_box.output("ls", "-A", DIRECTORY) == ""
    assert not own_box.succeeds("systemctl", "is-active", TIMER)
