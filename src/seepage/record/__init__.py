"""Watching a training loop: the Recorder and the pool that it evaluates."""

from seepage.record.recorder import (
    DEFAULT_SIGNALS,
    EARLIER_SIGNALS,
    Diverged,
    ExtraSignal,
    Memory,
    Recorder,
    Sink,
    checkpoints,
    log_spaced,
    observing,
)
from seepage.record.resident import Resident, View, parse_views
from seepage.record.seen_members import MembersWarning
from seepage.record.watching import Watching

__all__ = [
    "DEFAULT_SIGNALS",
    "EARLIER_SIGNALS",
    "Diverged",
    "ExtraSignal",
    "MembersWarning",
    "Memory",
    "Recorder",
    "Resident",
    "Sink",
    "View",
    "Watching",
    "checkpoints",
    "log_spaced",
    "observing",
    "parse_views",
]
