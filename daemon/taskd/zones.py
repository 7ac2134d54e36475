"""Time zones by their names, and the host's own.

Any thread; reads the host's time zone database and nothing else. Which zone the host is in is asked once for each
loading of the configuration, with what the environment then says.
"""

from __future__ import annotations

from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from .values import nearest

LOCALTIME = Path("/etc/localtime")
_DATABASE = "/zoneinfo/"


def read_zone(value: object) -> tzinfo:
    """Read a zone's name, such as "Europe/Berlin"; raises ValueError with the nearest one known."""
    if not isinstance(value, str):
        raise ValueError('must be a time zone such as "Europe/Berlin"')
    zone = _named(value)
    if zone is None:
        raise ValueError(f'names the unknown time zone "{value[:100]}"{nearest(value, available_timezones())}')
    return zone


def host_zone(variable: str | None, localtime: Path = LOCALTIME) -> tzinfo:
    """The zone that the variable TZ names, as a name or a file, else that of /etc/localtime, else UTC."""
    if variable is None:
        return _of_file(localtime) or UTC
    # The C library, too, takes UTC for what it does not know.
    name = variable.removeprefix(":")
    return (_of_file(Path(name)) if name.startswith("/") else _named(name)) or UTC


def zone_name(zone: tzinfo) -> str:
    """Its name, as people know it."""
    return getattr(zone, "key", None) or str(zone)


def _named(name: str) -> tzinfo | None:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name) if name else None
    # What is a directory, leads out of the database or is no zone's file raises each in its own way.
    except (ZoneInfoNotFoundError, OSError, ValueError):
        return None


def _of_file(file: Path) -> tzinfo | None:
    """By the name of the file that it is a link to, or as it stands."""
    try:
        target = str(file.resolve(strict=True))
        if _DATABASE in target and (zone := _named(target.partition(_DATABASE)[2])):
            return zone
        with file.open("rb") as data:
            return ZoneInfo.from_file(data, key=str(file))
    except (OSError, ValueError):
        return None
