"""Times and durations for people: `3m ago`, `1h02m`. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def read(text: str) -> datetime:
    """A time as the daemon writes it."""
    return datetime.fromisoformat(text)


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def relative(text: str, at: datetime) -> str:
    """How long ago it was, or how soon it will be."""
    seconds = (at - read(text)).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def duration(seconds: float) -> str:
    """Two figures of it at most."""
    # As they are rounded: 999.6 ms are a second.
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for place, (size, unit) in enumerate(_UNITS):
        if whole >= size:
            smaller, name = _UNITS[place + 1] if place + 1 < len(_UNITS) else (1, "s")
            return f"{whole // size}{unit}{whole % size // smaller:02}{name}"
    return f"{whole}s"


def between(start: str | None, end: str | None, at: datetime) -> str:
    """How long it took, or has taken until now; nothing where it has not begun."""
    if start is None:
        return ""
    return duration(max(0.0, ((read(end) if end else at) - read(start)).total_seconds()))


def moment(text: str) -> str:
    """A time as the daemon reads it: without a zone it is this host's, without a day the next such time.

    What is no time at all is left as it is, for the daemon to refuse.
    """
    here = datetime.now().astimezone()
    try:
        day_less = len(text) <= len("22:00:00")
        given = datetime.fromisoformat(f"{here.date()}T{text}" if day_less else text)
    except ValueError:
        return text
    if given.tzinfo is None:
        given = given.astimezone()
    if day_less and given <= here:
        given += timedelta(days=1)
    return given.isoformat()


def since(text: str) -> str:
    """A time, or how long ago: as a time with its zone. Raises ValueError."""
    from ..values import read_duration  # noqa: PLC0415 only where one is given

    try:
        return (now() - timedelta(seconds=read_duration(text))).isoformat()
    except ValueError:
        pass
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError('must be a time such as "2030-01-31T08:00Z", or how long ago, such as "10m"') from None
    return (given if given.tzinfo else given.astimezone()).isoformat()


def clock(text: str) -> str:
    """The time of day on this host, with the day where that is not today."""
    at = read(text).astimezone()
    return at.strftime("%H:%M:%S" if at.date() == now().astimezone().date() else "%Y-%m-%d %H:%M:%S")
