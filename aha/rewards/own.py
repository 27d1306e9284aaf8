"""Reward functions of the user's own: plain Python, named on the command line.

    def reward(problem: Problem, rollout: Rollout) -> float:
        return float(problem.answer in rollout.text)

A function gets one problem and one rollout of it (see `aha.types`) and returns a finite number, larger for a better
response, or an `aha.types.Verdict` to say why. It is the user's code and runs as such, in this process. One that waits
(for a program, for an answer over the network) may say `reward.overlaps_sampling = True`: it is then asked in another
thread, one rollout after the other, while sampling goes on.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from aha.rewards.table import overlaps
from aha.types import Problem, Rollout, Verdict

__all__ = ["OwnReward", "load_reward"]

_SPEC = re.compile(r"(?P<where>.+?):(?P<name>[A-Za-z_]\w*)(?:=(?P<weight>[^=]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReward:
    """A user's function as a reward function.

    Attributes:
        function: the function.
        key: hash of the file that it stands in: a changed file is another reward.
    """

    function: Callable[[Problem, Rollout], object]
    key: str

    @property
    def __name__(self) -> str:
        """The function's name, which names the part of the reward."""
        return str(self.function.__name__)

    @property
    def overlaps_sampling(self) -> bool:
        """Whether the function says that it may be asked while sampling goes on."""
        return overlaps(self.function)

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        """The function's verdict.

        Raises:
            ValueError: it returned something else than a number or a verdict; what it raises itself is passed on.
        """
        given = self.function(problem, rollout)
        if isinstance(given, Verdict):
            return given
        if isinstance(given, (bool, int, float)):
            return Verdict(score=float(given), reason=f"{self.__name__} says {float(given):g}")
        raise ValueError(
            f"reward function {self.__name__!r} returned {type(given).__name__} for problem {problem.id!r}; "
            "it must return a number or an aha.types.Verdict"
        )


def load_reward(spec: str) -> tuple[OwnReward, float]:
    """A user's reward function and its weight.

    Args:
        spec: `FILE.py:FUNCTION` or `MODULE:FUNCTION`, with `=WEIGHT` where the weight is not 1.

    Raises:
        ValueError: the specification, the file, the function or its parameters are not right; says which and what to
            write.
    """
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise ValueError(f"--reward {spec}: write FILE.py:FUNCTION or MODULE:FUNCTION, with =WEIGHT if it is not 1")
    try:
        weight = float(found["weight"] or 1.0)
    except ValueError:
        raise ValueError(f"--reward {spec}: {found['weight']!r} is no weight, write a number") from None
    module = _module(spec, found["where"])
    function = vars(module).get(found["name"])
    if not callable(function):
        known = ", ".join(sorted(name for name, value in vars(module).items() if inspect.isfunction(value)))
        raise ValueError(
            f"--reward {spec}: {found['where']} has no function {found['name']!r}; it has: {known or 'none'}"
        )
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise ValueError(f"--reward {spec}: the function must take two arguments, (problem, rollout)") from None
    source = Path(str(module.__file__)).read_bytes() if module.__file__ else b""
    return OwnReward(function=function, key=hashlib.sha256(source).hexdigest()[:16]), weight


def _module(spec: str, where: str) -> ModuleType:
    """The module that a specification names."""
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        if not Path(where).is_file():
            raise ValueError(f"--reward {spec}: there is no file {where}")
        named = importlib.util.spec_from_file_location(f"aha_own_{Path(where).stem}", where)
        assert named is not None
        assert named.loader is not None
        module = importlib.util.module_from_spec(named)
        named.loader.exec_module(module)
    except ImportError as error:
        raise ValueError(f"--reward {spec}: {where} cannot be imported ({error})") from error
    except SyntaxError as error:
        raise ValueError(f"--reward {spec}: {where} is not valid Python ({error})") from error
    return module
