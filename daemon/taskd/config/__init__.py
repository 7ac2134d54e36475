"""The configuration: one frozen Config, made from files by `load`; a reload makes a new one."""

from .load import load
from .readers import BatchItem
from .tables import SHIPPED, Access, BatchSettings, Config, DaemonSettings, Handler, Limits, Queue, Schedule

__all__ = [
    "SHIPPED",
    "Access",
    "BatchItem",
    "BatchSettings",
    "Config",
    "DaemonSettings",
    "Handler",
    "Limits",
    "Queue",
    "Schedule",
    "load",
]
