"""The package as a file: reproducible, complete, and to the taste of each release's lintian."""

from __future__ import annotations

import re
import time
import tomllib
from pathlib import Path

import pytest

from . import package
from .box import Box

pytestmark = pytest.mark.system
#: Debian 12's lintian asks for an init script, which Debian no longer does; Debian 13's has forgotten the tag.
SUPPRESSED = {"bookworm": ["--suppress-tags", "package-supports-alternative-init-but-no-init.d-script"], "trixie": []}


def test_build_is_reproducible_and_clean(source: Path, deb: Path, tmp_path: Path) -> None:
    """The same sources give the same bytes wherever they are, in less than 30 s, and the checkout is left as it was."""
    copy = package.checkout(tmp_path / "elsewhere", source)
    before = sorted(copy.rglob("*"))
    started = time.monotonic()
    again = package.build(copy, tmp_path / "dist")
    assert time.monotonic() - started < 30
    assert (again.name, again.read_bytes()) == (deb.name, deb.read_bytes())
    assert sorted(copy.rglob("*")) == before


def test_files_are_where_debian_wants_them(deb: Path) -> None:
    """The package has its program, unit, configuration, user, manual pages and examples, all of them root's."""
    files = package.files(deb)
    assert {
        "/usr/bin/taskd",
        "/usr/bin/taskctl",
        "/usr/lib/systemd/system/taskd.service",
        "/usr/lib/systemd/system/taskd-metrics.service",
        "/usr/lib/systemd/system/taskd-metrics.timer",
        "/usr/lib/sysusers.d/taskd-runner.conf",
        "/usr/lib/python3/dist-packages/taskd/journal/schema.sql",
        "/etc/taskd/taskd.toml",
        "/etc/taskd/conf.d/example.toml.disabled",
        "/usr/share/man/man1/taskctl.1.gz",
        "/usr/share/man/man8/taskd.8.gz",
        "/usr/share/man/man5/taskd.toml.5.gz",
        "/usr/share/bash-completion/completions/taskctl",
        "/usr/share/zsh/vendor-completions/_taskctl",
        "/usr/share/fish/vendor_completions.d/taskctl.fish",
        "/usr/share/doc/taskd-runner/examples/loosen.conf",
        "/usr/share/doc/taskd-runner/examples/tighten.conf",
    } <= files.keys()
    assert {attributes.split()[1] for attributes in files.values()} == {"root/root"}
    assert not [path for path in files if "test" in path or path.endswith(".pyc")]


def test_cannot_be_mistaken_for_the_other_taskd(deb: Path) -> None:
    """An upgrade never replaces this package with Debian 12's taskd, and never puts one over the other."""
    assert package.control_field(deb, "Package") == "taskd-runner"
    assert package.control_field(deb, "Conflicts") == "taskd"
    assert package.control_field(deb, "Replaces") == package.control_field(deb, "Provides") == ""


def test_depends_on_every_library(deb: Path) -> None:
    """Installing brings along all that the Python package needs, and the time zones that Debian keeps apart."""
    listed = tomllib.loads((package.TOP / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = {"python3-" + re.split("[<>=]", one)[0] for one in listed}
    assert needed | {"tzdata"} <= set(re.split(r"[ ,]+", package.control_field(deb, "Depends")))


def test_debians_own_test_passes(box: Box) -> None:
    """What Debian's archive would run on the installed package, it would pass."""
    try:
        box.run("sh", "-s", stdin=(package.TOP / "packaging/debian/tests/smoke").read_text())
    finally:
        box.systemctl("start", "taskd")


def test_taskctl_is_installed_with_what_belongs_to_it(box: Box) -> None:
    """It speaks to the service without being told where that is; its manual page and its completions are there."""
    assert box.output("taskctl", "add", "log", "--wait", "-q").strip().isdecimal()
    assert "Stay with batches" in box.output("zcat", "/usr/share/man/man1/taskctl.1.gz")
    script = ". /usr/share/bash-completion/completions/taskctl; COMP_WORDS=(taskctl add de) COMP_CWORD=2; _taskctl"
    assert box.output("bash", "-c", f'{script}; echo "${{COMPREPLY[@]}}"').split() == ["demo"]


def test_lintian_finds_nothing(box: Box, deb: Path) -> None:
    """Debian's own checks have nothing to say, down to the pedantic."""
    command = ("lintian", "--info", "--display-info", "--pedantic", "--allow-root", *SUPPRESSED[box.release])
    assert box.output(*command, f"/dist/{deb.name}") == ""
