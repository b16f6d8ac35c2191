"""Workers are forked from a fresh interpreter that was started in time."""

from __future__ import annotations

import sys

import pytest

from seepage.fleet import fork_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")


def test_a_server_that_was_started_early_is_taken_unless_what_it_began_with_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fork_server, "_ENTRY", "input({!r})")  # which imports nothing
    fork_server.expect_workers(1)
    (early,) = fork_server._early
    taken = fork_server.server(1)
    assert taken is early
    taken.close()
    fork_server.expect_workers(1)
    (early,) = fork_server._early
    monkeypatch.setenv("SEEPAGE_CHANGED", "since")
    other = fork_server.server(1)
    assert other is not early
    assert early.process.returncode is not None
    other.close()
    assert not fork_server._early
