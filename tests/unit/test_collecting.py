"""The search for cycles is off within the block and as it was after it."""

from __future__ import annotations

import gc

import pytest

from labelloop.collecting import cycles_uncollected


def test_collection_pauses_and_goes_on_also_after_a_failure() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError), cycles_uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_what_was_off_stays_off() -> None:
    gc.disable()
    try:
        with cycles_uncollected(), cycles_uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
