"""What happens to tasks: (state, events, now) → transitions and effects.

Pure: no thread, clock, file, SQL or random number; what is random, or known to the journal alone, comes in with the
event. `machine` decides, with what `lines`, `counts` and `life` know.
"""

from .machine import DEFAULT_QUEUE, Core

__all__ = ["DEFAULT_QUEUE", "Core"]
