"""Building the Debian package, as it is and as another version of itself.

Called by fixtures. What is built is a copy: the checkout is never written to, and may change meanwhile.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .tree import locked

TOP = Path(__file__).resolve().parents[2]
PARTS = ("daemon", "packaging", "taskd.service", "pyproject.toml", "README.md", "LICENSE")


def build(top: Path, output: Path) -> Path:
    """Build the package from the checkout at `top`; answer the .deb's path."""
    script = top / "packaging/build-deb"
    result = subprocess.run([script, output], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return Path(result.stdout.strip())


def build_once(top: Path, output: Path, version: str) -> Path:
    """The same, unless another session has built this version into that folder."""
    with locked(output / "lock"):
        built = output / f"taskd-runner_{version}_all.deb"
        return built if built.exists() else build(top, output)


def checkout(copy: Path, top: Path = TOP, version: str = "") -> Path:
    """Copy a checkout, as another version of itself if there is one given; answer the copy."""
    copy.mkdir(parents=True)
    for part in PARTS:
        source = top / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / part)
    if version:
        _set_version(copy, version)
    return copy


def _set_version(copy: Path, version: str) -> None:
    _substitute(copy / "packaging/debian/changelog", r"\A(\S+) \(.*?\)", rf"\1 ({version})")
    _substitute(copy / "daemon/taskd/__init__.py", r'__version__ = ".*"', f'__version__ = "{version}"')


def _substitute(file: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file.read_text(), count=1)
    assert count == 1, f"{file} has no version"
    file.write_text(text)


def changelog_version() -> str:
    """Answer the version that the package will have."""
    text = (TOP / "packaging/debian/changelog").read_text()
    return text.partition("(")[2].partition(")")[0]


def control_field(deb: Path, field: str) -> str:
    """Answer a field of a built package."""
    return _dpkg_deb("--field", str(deb), field).strip()


def files(deb: Path) -> dict[str, str]:
    """Answer each file of a built package with its mode and owner, such as "-rw-r--r-- root/root"."""
    rows = [line.split(maxsplit=5) for line in _dpkg_deb("--contents", str(deb)).splitlines()]
    return {row[5].removeprefix("."): f"{row[0]} {row[1]}" for row in rows}


def _dpkg_deb(*arguments: str) -> str:
    return subprocess.run(["dpkg-deb", *arguments], check=True, capture_output=True, text=True).stdout
