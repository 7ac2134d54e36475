"""The unit's sandbox: strict by systemd's own measure, and wide enough for ordinary handlers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .box import Box

pytestmark = pytest.mark.system
EXAMPLES = "/usr/share/doc/taskd-runner/examples"
#: Runs what it is given with a shell, which no shipped handler does: the tests try what a handler could.
TRY = """
[handlers.try]
command = ["/bin/sh", "-euc", "{script}"]
working_directory = "/var/lib/taskd"
timeout = "60s"
"""
#: Ordinary work of ordinary programs, each at what a sandbox could break.
WORK = {
    "node": """node -e '
        let sum = 0; for (let i = 0; i < 1e6; i++) sum += i;
        const os = require("os"), fs = require("fs");
        if (!os.cpus().length || !os.totalmem()) throw "blind";
        os.networkInterfaces();
        require("dns").lookup("localhost", error => { if (error) throw error; });
        fs.writeFileSync("/tmp/sum", `${sum}`);
        new (require("worker_threads").Worker)("0", { eval: true });'
        grep -q 499999500000 /tmp/sum""",
    "git": """rm -rf /tmp/repository /tmp/clone; git init -q /tmp/repository; cd /tmp/repository
        git config user.name a; git config user.email a@example.org; echo 1 >f; git add f; git commit -qm one
        git clone -q /tmp/repository /tmp/clone; git -C /tmp/clone gc -q; test -e /tmp/clone/f""",
    "rsync": """rm -rf /tmp/from /tmp/to; mkdir /tmp/from; echo 1 >/tmp/from/f; ln -s f /tmp/from/l
        rsync -aHAX --delete /tmp/from/ /tmp/to; test -L /tmp/to/l""",
    "imagemagick": """convert -size 400x400 plasma:red-blue /tmp/in.png; convert /tmp/in.png -resize 50x50 /tmp/out.jpg
        test "$(identify -format %wx%h /tmp/out.jpg)" = 50x50""",
    "curl": """curl -sSf http://127.0.0.1:8000/hostname -o /tmp/hostname; test -s /tmp/hostname""",
    "python": """python3 -c 'import multiprocessing, subprocess, sqlite3, socket, ctypes
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, 1]) == [1, 1]'""",
    "nice": "nice -n 10 ionice -c 3 true",
    "results": "echo 1 >/srv/results/f; echo 1 >/var/lib/taskd/f; rm /var/lib/taskd/f",
}
#: What the daemon and its handlers have no business with.
MISCHIEF = {
    "etc": "echo 1 >/etc/taskd/taskd.toml",
    "home": "ls /home/alice",
    "tmp": "ls /tmp/secret-of-the-box",
    "devices": "head -c 1 /dev/kmsg",
    "namespaces": "unshare --user true",
    "setuid": "cp /bin/true /tmp/t && chmod u+s /tmp/t",
    "processes": "test -r /proc/1/status",
    "kernel": "echo 1 >/proc/sys/kernel/panic",
}


@pytest.fixture(scope="module")
def sandbox(box: Box) -> Box:
    """The box with a handler that tries things, a web server to fetch from and a folder for results."""
    box.write("/etc/taskd/conf.d/try.toml", TRY)
    box.write("/tmp/secret-of-the-box", "")
    box.run("install", "-d", "-o", "taskd", "-g", "taskd", "/srv/results")
    box.run("systemd-run", "--quiet", "--unit=web", "python3", "-m", "http.server", "--directory=/etc", "8000")
    box.run(
        "curl", "-s", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "http://127.0.0.1:8000/hostname"
    )
    box.systemctl("reload", "taskd")
    return box


def attempt(box: Box, script: str) -> Any:
    """Run a script as a task; answer the task."""
    return box.run_task("try", {"script": script})


@pytest.mark.parametrize("work", WORK)
def test_ordinary_handlers_work(sandbox: Box, work: str) -> None:
    """node, git, rsync, ImageMagick, curl and the like run as handlers without loosening anything."""
    task = attempt(sandbox, WORK[work])
    assert task["state"] == "succeeded", task["output"]


@pytest.mark.parametrize("mischief", MISCHIEF)
def test_handlers_are_kept_in(sandbox: Box, mischief: str) -> None:
    """A handler that was tricked cannot change the system, see people's files or gain rights."""
    task = attempt(sandbox, MISCHIEF[mischief])
    assert (task["state"], task["error"]["reason"]) == ("failed", "exit"), task["output"]


def exposure(box: Box) -> float:
    """Answer the unit's score as systemd counts it: 0 is best, 10 worst."""
    told = box.output("systemd-analyze", "security", "--no-pager", "taskd")
    found = re.search(r"exposure level for taskd.service: ([\d.]+)", told)
    assert found, told
    return float(found[1])


def test_exposure_is_low(box: Box) -> None:
    """The unit is scored 1.6 or better by systemd, where docker, nginx and cron have 9.4."""
    assert exposure(box) <= 1.6


def test_tightened_service_works(sandbox: Box) -> None:
    """The documented drop-in brings the score to 0.5 or better, and plain handlers still run."""
    tighten = sandbox.path(f"{EXAMPLES}/tighten.conf").read_text()
    sandbox.drop_in("tighten", tighten)
    try:
        assert exposure(sandbox) <= 0.5
        sandbox.systemctl("restart", "taskd")
        assert attempt(sandbox, "true")["state"] == "succeeded"
    finally:
        sandbox.run("rm", "-r", "/etc/systemd/system/taskd.service.d")
        sandbox.systemctl("daemon-reload")
        sandbox.systemctl("restart", "taskd")


def test_loosened_service_reaches_what_it_names(sandbox: Box) -> None:
    """The documented drop-in lets handlers write to a home directory that admits them."""
    sandbox.run("chmod", "777", "/home/alice")
    sandbox.drop_in("loosen", sandbox.path(f"{EXAMPLES}/loosen.conf").read_text())
    try:
        sandbox.systemctl("restart", "taskd")
        assert attempt(sandbox, "echo 1 >/home/alice/f")["state"] == "succeeded"
    finally:
        sandbox.run("rm", "-r", "/etc/systemd/system/taskd.service.d")
        sandbox.systemctl("daemon-reload")
        sandbox.systemctl("restart", "taskd")
