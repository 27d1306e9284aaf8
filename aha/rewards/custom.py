"""Reward functions of the user's own: plain Python, named on the command line.

    def reward(problem: Problem, rollout: Rollout) -> float:
        return float(problem.answer in rollout.text)

A function gets one problem and one rollout of it (see `aha.types`) and returns a finite number, larger for a better
response (numbers of numpy and tensors without dimensions are numbers too), an `aha.types.Verdict` to say why, or None
to abstain: the response then has no such part of the reward. It is the user's code and runs as such, in this process.
One that waits (for a program, for an answer over the network) may say `reward.overlaps_sampling = True`: it is then
asked in another thread, one rollout after the other, while sampling goes on.

What a model writes can trip a function that its author thought finished. A run of many hours does not end because of
that: the response gets 0 with the verdict `crash`, and each kind of error is told once, with file and line.
"""

import hashlib
import importlib
import importlib.util
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from numbers import Real
from pathlib import Path
from types import ModuleType

import numpy as np
from torch import Tensor

from aha.rewards.table import overlaps
from aha.types import Problem, Rollout, Verdict

__all__ = ["OwnReward", "failure_kind", "load_reward"]

_KIND = re.compile(r".*?:\d+: (?:\w+|returned [^:]+)(?=: |$)", re.DOTALL)
_SPEC = re.compile(r"(?P<where>.+?):(?P<name>[A-Za-z_]\w*)(?:=(?P<weight>[^=]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReward:
    """A user's function as a reward function. Calling it never raises an `Exception`, nor does it end the process.

    Attributes:
        name: the name under which it was asked for, which names the part of the reward.
        function: the function.
        file: the file that it stands in; empty where it stands in none.
        key: hash of that file: a changed file is another reward.
    """

    name: str
    function: Callable[[Problem, Rollout], object]
    file: str
    key: str
    _told: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def __name__(self) -> str:
        """Its name."""
        return self.name

    @property
    def overlaps_sampling(self) -> bool:
        """Whether the function says that it may be asked while sampling goes on."""
        return overlaps(self.function)

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict | None:
        """The function's verdict; None where it abstains; 0 and `crash` where it raises or returns something else."""
        try:
            result = self.function(problem, rollout)
            if result is None:
                return None
            number = result.score if isinstance(result, Verdict) else result
            score = float(number) if _is_number(number) else math.nan  # type: ignore[arg-type]  # these all convert
        except (Exception, SystemExit) as error:  # the user's code may raise anything, and may call exit()
            return self._failure(problem, f"{_place_of(error, self.file)}: {type(error).__name__}", str(error))

        if math.isfinite(score) and isinstance(result, Verdict):
            return replace(result, score=score)
        if math.isfinite(score):
            return Verdict(score=score, reason=f"{self.name} says {score:g}")
        returned = f"{score}" if _is_number(number) else type(number).__name__
        if isinstance(result, Verdict):
            returned = f"Verdict with score {returned}"
        return self._failure(
            problem,
            f"{self.file}:{_first_line(self.function)}: returned {returned}",
            "it must return a finite number, an aha.types.Verdict, or None to abstain",
        )

    def _failure(self, problem: Problem, kind: str, details: str) -> Verdict:
        """The verdict on a response at which the function failed; the first failure of a kind is told."""
        reason = f"{kind}: {details}" if details else kind
        if kind not in self._told:
            self._told.add(kind)
            print(
                f"aha: reward {self.name!r} fails for problem {problem.id!r} ({reason}); "
                "such responses get 0 from it and count as crashes",
                file=sys.stderr,
            )
        return Verdict(score=0.0, reason=reason, kind="crash")


def failure_kind(reason: str) -> str:
    """What failures of one kind share: file, line, and the type of the error or of what was returned.

    Args:
        reason: that of a verdict `crash`; one which no `OwnReward` gave is a kind of its own.
    """
    kind = _KIND.match(reason)
    return kind[0] if kind else reason


def _is_number(value: object) -> bool:
    """Whether this is one number: of Python, of numpy, or a tensor without dimensions."""
    if isinstance(value, np.ndarray | Tensor):
        return value.ndim == 0
    return isinstance(value, Real | Decimal | np.bool_)


def _first_line(function: Callable[[Problem, Rollout], object]) -> int:
    """Line at which a function begins; 1 for an object that is no function but can be called."""
    return function.__code__.co_firstlineno if inspect.isfunction(function) else 1


def _place_of(error: BaseException, file: str) -> str:
    """`file:line` at which something was raised: the innermost line of the user's own file, if it went through it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


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
    file = module.__file__ or ""
    source = Path(file).read_bytes() if file else b""
    reward = OwnReward(
        name=found["name"],
        function=function,
        file=file,
        key=hashlib.sha256(source).hexdigest()[:16],
    )
    return reward, weight


def _module(spec: str, where: str) -> ModuleType:
    """The module that a specification names."""
    if where.endswith(".py") and not Path(where).is_file():
        raise ValueError(f"--reward {spec}: there is no file {where}")
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        named = importlib.util.spec_from_file_location(f"aha_own_{Path(where).stem}", where)
        assert named is not None
        assert named.loader is not None
        module = importlib.util.module_from_spec(named)
        named.loader.exec_module(module)
        return module
    except ImportError as error:
        raise ValueError(f"--reward {spec}: {where} cannot be imported ({error})") from error
    except SyntaxError as error:
        raise ValueError(f"--reward {spec}: {where} is not valid Python ({error})") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything, and may call exit()
        place = _place_of(error, where)
        raise ValueError(
            f"--reward {spec}: {where} fails when it is read ({place}: {type(error).__name__}: {error})"
        ) from error
