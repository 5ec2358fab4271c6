"""The thread that writes counts down: it outlives a write that failed, and writes what is left when it stops."""

from __future__ import annotations

import threading

from structlog.testing import capture_logs

from node.scribe import Scribe


def test_a_write_that_fails_ends_no_counting_and_its_text_stays_out_of_the_log():
    twice = threading.Event()
    calls: list[int] = []

    def flush() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            msg = "sender WEBER"
            raise ValueError(msg)
        twice.set()

    scribe = Scribe("counts", flush, interval=0.01)
    with capture_logs() as logged:
        scribe.start()
        assert twice.wait(10)
        scribe.stop()
    assert [line["error"] for line in logged] == ["ValueError"]
    assert "WEBER" not in str(logged)
    assert len(calls) > 2


def test_what_is_left_is_written_also_when_the_thread_never_ran():
    calls: list[int] = []
    Scribe("counts", lambda: calls.append(1), interval=60).stop()
    assert calls == [1]
