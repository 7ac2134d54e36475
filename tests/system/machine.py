"""What the system tests need of the machine they run on: rights, tools, and where its apt fetches from.

Called once a session, by the fixtures. Nothing here names a mirror or a proxy: they are read from the machine's own
apt configuration.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

#: Each program, and the package that has it.
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "dpkg-deb": "dpkg",
}
#: What of apt's configuration decides how packages are fetched, rather than which.
FETCHING = ("Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::Retries", "Acquire::Languages")


def missing_reason() -> str:
    """Answer why system tests cannot run here, or nothing; installs missing tools when that is possible."""
    if os.geteuid() != 0:
        return "system tests boot containers and need root"
    if missing := _missing_tools():
        _install(missing)
    if missing := _missing_tools():
        return f"system tests need {', '.join(missing)}: apt-get install {' '.join(missing)}"
    return ""


def _missing_tools() -> list[str]:
    return sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})


def _install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        return
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    # A failure shows as a tool that is still missing.
    for command in (install, ["apt-get", "update", "-q"], install):
        if _missing_tools():
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)


def mirror() -> list[str]:
    """Answer where this machine's own release comes from, as mmdebstrap's last argument; nothing for its default."""
    release = platform.freedesktop_os_release()
    if release.get("ID") != "debian":
        return []
    targets = _output("apt-get", "indextargets", "--format", "$(CREATED_BY) $(RELEASE) $(REPO_URI)")
    wanted = f"Packages {release.get('VERSION_CODENAME')} "
    found = [line.removeprefix(wanted) for line in targets.splitlines() if line.startswith(wanted)]
    return found[:1]


def apt_options() -> list[str]:
    """Answer this machine's proxies and the like as options of mmdebstrap."""
    lines = _output("apt-config", "dump").splitlines()
    return [f"--aptopt={line.rstrip(';')}" for line in lines if line.startswith(FETCHING) and not line.endswith('"";')]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
