"""The parts of a timeline add up, and each begins and ends when the device is done."""

from collections.abc import Callable, Iterator

import pytest

from aha.stages.timeline import PARTS, Timeline


def ticking(*moments: float) -> Callable[[], float]:
    """A clock that shows these moments, one after the other."""
    left: Iterator[float] = iter(moments)
    return lambda: next(left)


def test_parts_add_up_and_the_rest_is_the_difference() -> None:
    timeline = Timeline(now=ticking(0, 1, 4, 5, 5.5, 6, 8, 10))
    for name in ("sampling", "reference", "sampling"):
        with timeline.part(name):
            pass
    found = timeline.metrics()
    expected = {"sampling": 5.0, "scoring": 0.0, "reference": 0.5, "learning": 0.0}
    assert found == {**{f"seconds_{name}": expected[name] for name in PARTS}, "seconds": 10.0}


def test_a_part_that_fails_is_counted_too() -> None:
    timeline = Timeline(now=ticking(0, 1, 3, 4))
    with pytest.raises(ValueError, match="no"), timeline.part("scoring"):
        raise ValueError("no")
    assert timeline.metrics()["seconds_scoring"] == 2.0


def test_there_are_no_other_parts() -> None:
    with pytest.raises(KeyError), Timeline().part("dreaming"):
        pass


def test_the_device_is_waited_for_at_every_beginning_and_end() -> None:
    waits: list[int] = []
    timeline = Timeline(lambda: waits.append(len(waits)))
    with timeline.part("learning"):
        assert len(waits) == 2
    timeline.metrics()
    assert len(waits) == 4
