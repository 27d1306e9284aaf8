"""The parts of a timeline add up, and it waits for a device only where there is one."""

from collections.abc import Callable, Iterator

import pytest
import torch

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


@pytest.mark.parametrize(("device", "num_waits"), [("cpu", 0), ("cuda:0", 4)])
def test_only_cuda_is_waited_for(device: str, num_waits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    timeline = Timeline(device)
    with timeline.part("learning"):
        pass
    timeline.metrics()
    assert waited == [torch.device(device)] * num_waits
