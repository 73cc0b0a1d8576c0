"""Progress in numbers: rate, time left, a line now and then without a terminal, one line written over on one."""

from __future__ import annotations

import io

import pytest

from labelloop.progress import LINE_EVERY_S, not_counted, progress_counter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_a_line_comes_every_few_seconds_and_at_the_end_of_a_stage() -> None:
    stream, clock = io.StringIO(), Clock()
    show = progress_counter("ingest", silent=False, stream=stream, clock=clock)
    for done in range(0, 1201, 100):
        show("checking", done)
        clock.now += 1
    show("checking", 1200, 1200)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "ingest: checking 0"
    assert lines[1:3] == ["ingest: checking 500, 100/s", "ingest: checking 1,000, 100/s"]
    assert lines[-1] == "ingest: checking 1,200 of 1,200, 92/s, took 13 s"
    assert LINE_EVERY_S == 5.0


@pytest.mark.parametrize(("per_s", "left"), [(1, "16 min left"), (0.1, "2 h 46 min left"), (20, "40 s left")])
def test_the_rate_tells_the_time_that_is_left(per_s: float, left: str) -> None:
    stream, clock = io.StringIO(), Clock()
    show = progress_counter("x", silent=False, stream=stream, clock=clock)
    show("importing", 500, 1500)
    clock.now += 10
    show("importing", 500 + round(10 * per_s), 1500)
    assert stream.getvalue().splitlines()[-1].endswith(left)
    assert ("1.0/s" if per_s == 1 else "/s") in stream.getvalue()


def test_on_a_terminal_one_line_is_written_over_until_its_stage_ends() -> None:
    stream, clock = Terminal(), Clock()
    show = progress_counter("x", silent=False, stream=stream, clock=clock)
    for done in (0, 5, 10):
        show("one", done, 10)
        clock.now += 1
    show("two", 0, 4)
    assert stream.getvalue().count("\n") == 1 and stream.getvalue().count("\r") == 4


def test_silence_is_silent() -> None:
    assert progress_counter("x", silent=True) is not_counted
    not_counted("x", 1)
