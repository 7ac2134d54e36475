"""taskd: the task queue a Linux box should have come with."""

__version__ = "0.1.0"
