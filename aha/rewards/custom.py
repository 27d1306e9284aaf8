"""Custom reward functions: plain Python of the user, named on the command line.

    def reward(problem: Problem, rollout: Rollout) -> float:
        return float(problem.answer in rollout.text)

A function gets one problem and one rollout of it (see `aha.types`). It returns a finite number, larger for a better
response (numpy scalars and tensors without dimensions are numbers too), an `aha.types.Verdict` to give a reason, or
None to abstain: the response then has no such part of the reward. It is the user's code and runs in this process,
without a sandbox. A function that waits (for a program, for the network) may set `reward.overlaps_sampling = True`: it
is then called in another thread, one rollout after the other, while sampling goes on.

Model output can make a function fail that its author thought finished. That does not end a run of many hours: the
response gets 0 with a verdict of kind `crash`, and each kind of error is printed once, with file and line.
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

__all__ = ["CustomReward", "failure_kind", "function_reward", "load_reward"]

_KIND = re.compile(r".*?:\d+: (?:\w+|returned [^:]+)(?=: |$)", re.DOTALL)
_SPEC = re.compile(r"(?P<where>.+?):(?P<name>[A-Za-z_]\w*)(?:=(?P<weight>[^=]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomReward:
    """A user's function as a reward function. A call never raises an `Exception`, nor does it end the process.

    Attributes:
        name: the function's name on the command line, which names the part of the reward.
        function: the function.
        file: the file that defines it; empty where there is none.
        key: hash of that file, so that a changed file counts as another reward.
    """

    name: str
    function: Callable[[Problem, Rollout], object]
    file: str
    key: str
    _reported: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def __name__(self) -> str:
        """The name of its part of the reward."""
        return self.name

    @property
    def overlaps_sampling(self) -> bool:
        """Whether the function says that it may be called while sampling goes on."""
        return overlaps(self.function)

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict | None:
        """The function's verdict; None where it abstains; 0 and `crash` where it raises or returns something else."""
        try:
            result = self.function(problem, rollout)
            if result is None:
                return None
            number = result.score if isinstance(result, Verdict) else result
            # Conversion runs code of the returned object, which may raise too.
            score = float(number) if _is_number(number) else math.nan  # type: ignore[arg-type]  # these all convert
        except (Exception, SystemExit) as error:  # the user's code may raise anything, and may call exit()
            return self._failure(problem, f"{_location(error, self.file)}: {type(error).__name__}", str(error))

        # The score as a float, also where it was a tensor: verdicts are sent between processes and written as JSON.
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
        """The verdict on a response at which the function failed; the first failure of each kind is printed."""
        # Once for each kind: the details quote the response, and would differ every time.
        reason = f"{kind}: {details}" if details else kind
        if kind not in self._reported:
            self._reported.add(kind)
            print(
                f"aha: reward {self.name!r} fails for problem {problem.id!r} ({reason}); "
                "such responses get 0 from it and count as crashes",
                file=sys.stderr,
            )

        return Verdict(score=0.0, reason=reason, kind="crash")


def failure_kind(reason: str) -> str:
    """The kind of a failure: file, line, and the type of the error or of the returned object.

    Args:
        reason: reason of a `crash` verdict; a reason that is not from an `CustomReward` is a kind of its own.
    """
    kind = _KIND.match(reason)
    return kind[0] if kind else reason


def _is_number(value: object) -> bool:
    """Whether a value is a single number: of Python, of numpy, or a tensor without dimensions."""
    if isinstance(value, np.ndarray | Tensor):
        return value.ndim == 0
    return isinstance(value, Real | Decimal | np.bool_)


def _first_line(function: Callable[[Problem, Rollout], object]) -> int:
    """The line at which a function begins; 1 for a callable object that is no function."""
    return function.__code__.co_firstlineno if inspect.isfunction(function) else 1


def _location(error: BaseException, file: str) -> str:
    """The `file:line` of an error: the innermost line in the user's file, or else where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    user_frames = [frame for frame in frames if frame.filename == file]
    frame = (user_frames or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


def load_reward(spec: str) -> tuple[CustomReward, float]:
    """Loads a user's reward function.

    Args:
        spec: `FILE.py:FUNCTION` or `MODULE:FUNCTION`, with `=WEIGHT` where the weight is not 1.

    Returns:
        The reward function and its weight.

    Raises:
        ValueError: the specification, the file, the function or its parameters are wrong; the message says which, and
            what to write instead.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ValueError(f"--reward {spec}: write FILE.py:FUNCTION or MODULE:FUNCTION, with =WEIGHT if it is not 1")

    try:
        weight = float(match["weight"] or 1.0)
    except ValueError:
        raise ValueError(f"--reward {spec}: {match['weight']!r} is no weight, write a number") from None

    module = _module(spec, match["where"])
    function = vars(module).get(match["name"])
    if not callable(function):
        names = ", ".join(sorted(name for name, value in vars(module).items() if inspect.isfunction(value)))
        raise ValueError(
            f"--reward {spec}: {match['where']} has no function {match['name']!r}; it has: {names or 'none'}"
        )

    _check_parameters(spec, function)

    # A module without a file, such as a namespace package, has nothing that could be hashed.
    file = module.__file__ or ""
    source = Path(file).read_bytes() if file else b""
    reward = CustomReward(
        name=match["name"],
        function=function,
        file=file,
        key=hashlib.sha256(source).hexdigest()[:16],
    )

    return reward, weight


def function_reward(function: Callable[[Problem, Rollout], object]) -> CustomReward:
    """A function of a Python program as a reward function.

    Args:
        function: takes a problem and a rollout. Its source is its key where there is one, and its code otherwise.

    Raises:
        ValueError: it takes other arguments.
    """
    _check_parameters(function.__name__, function)
    try:
        source = inspect.getsource(function)
        file = inspect.getsourcefile(function) or ""
    except (OSError, TypeError):
        source, file = "", ""
    # What was typed at a prompt has no source that can be found again.
    if not source and inspect.isfunction(function):
        source = f"{function.__code__.co_code.hex()} {function.__code__.co_consts}"
    key = hashlib.sha256(source.encode()).hexdigest()[:16]
    return CustomReward(name=function.__name__, function=function, file=file, key=key)


def _check_parameters(spec: str, function: Callable[..., object]) -> None:
    """Refuse a function that cannot be called with a problem and a rollout, as a `ValueError`."""
    # Two arguments are bound, not counted: defaults and *args are welcome.
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise ValueError(f"--reward {spec}: the function must take two arguments, (problem, rollout)") from None


def _module(spec: str, where: str) -> ModuleType:
    """Imports the file or module that a specification names."""
    if where.endswith(".py") and not Path(where).is_file():
        raise ValueError(f"--reward {spec}: there is no file {where}")

    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        module_spec = importlib.util.spec_from_file_location(f"aha_own_{Path(where).stem}", where)
        assert module_spec is not None
        assert module_spec.loader is not None
        module = importlib.util.module_from_spec(module_spec)
        module_spec.loader.exec_module(module)
        return module
    except ImportError as error:
        raise ValueError(f"--reward {spec}: {where} cannot be imported ({error})") from error
    except SyntaxError as error:
        raise ValueError(f"--reward {spec}: {where} is not valid Python ({error})") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything, and may call exit()
        location = _location(error, where)
        raise ValueError(
            f"--reward {spec}: {where} fails when it is read ({location}: {type(error).__name__}: {error})"
        ) from error
