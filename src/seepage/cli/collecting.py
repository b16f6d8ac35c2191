"""How often a command looks for garbage: seldom, and not as it ends.

What libraries make as they are imported stays. To look for garbage among it, now and again and
twice as the process ends, takes a quarter of the time of a short command.
"""

from __future__ import annotations

import atexit
import gc

gc.set_threshold(100_000, 50, 100)
atexit.register(gc.freeze)
