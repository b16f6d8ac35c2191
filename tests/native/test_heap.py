"""Freed memory stays with the process where the C library can be told so."""

from __future__ import annotations

import platform
import sys

from seepage.native.heap import keep_freed


def test_glibc_takes_it_and_others_are_left_alone() -> None:
    glibc = sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc"
    assert keep_freed() is glibc
