"""A grader of another project in a process of its own: reads pairs as JSON lines, answers each with true or false.

usage: python benchmarks/verifier_process.py FOLDER GRADER

It runs in an environment that has math-verify and sympy, and imports nothing of aha. Of a checkout it loads the one
module of the grader; what that module imports of its own project (logging, dataset access) is replaced by an empty
module, since no verdict needs it.
"""

import contextlib
import importlib.util
import json
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path

Judge = Callable[[str, str], bool]

# Empty modules for what a grader imports of its own project, with the names that it takes from them.
STUBS = {
    "nemo_skills.utils": ("get_logger_name",),
    "open_r1.utils.code_providers": ("get_provider",),
    "open_r1.utils.competitive_programming": (
        "SubtaskResult",
        "add_includes",
        "get_morph_client_from_env",
        "get_piston_client_from_env",
        "patch_code",
        "score_submission",
        "score_subtask",
    ),
    "trl.import_utils": ("is_math_verify_available",),
}


def load(path: Path, name: str) -> types.ModuleType:
    """The module of a file, under a name, with empty modules around it."""
    for stub, names in STUBS.items():
        parts = stub.split(".")
        for count in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:count]), types.ModuleType(".".join(parts[:count])))
        for one in names:
            setattr(sys.modules[stub], one, lambda *_: "grader")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def hendrycks(folder: Path) -> Judge:
    """The grader of MATH: two texts are equal once some notation is stripped."""
    module = load(folder / "math/modeling/math_equivalence.py", "math_equivalence")
    return lambda gold, answer: module.is_equiv(gold, answer)


def nemo_skills(folder: Path) -> Judge:
    """NeMo-Skills: options and literals first, then math-verify."""
    module = load(folder / "NeMo-Skills/nemo_skills/evaluation/math_grader.py", "nemo_skills.evaluation.math_grader")
    return lambda gold, answer: module.math_equal(gold, answer)


def olympiad_bench(folder: Path) -> Judge:
    """OlympiadBench: numbers, expressions, equations and intervals by sympy."""
    module = load(folder / "OlympiadBench/eval/auto_scoring_judge.py", "auto_scoring_judge")
    judge = module.AutoScoringJudge()
    return lambda gold, answer: judge.judge(gold, answer)


def open_r1(folder: Path) -> Judge:
    """The accuracy reward of open-r1: math-verify on a completion with the answer in a box."""
    module = load(folder / "open-r1/src/open_r1/rewards.py", "open_r1.rewards")
    return lambda gold, answer: rewarded(module.accuracy_reward, gold, answer)


def trl(folder: Path) -> Judge:
    """The accuracy reward of TRL: math-verify with other options."""
    module = load(folder / "trl/trl/rewards/accuracy_rewards.py", "trl.rewards.accuracy_rewards")
    return lambda gold, answer: rewarded(module.accuracy_reward, gold, answer)


def rewarded(reward: Callable, gold: str, answer: str) -> bool:
    """Whether a reward function pays a boxed answer; the reference is a formula, as data sets have it."""
    completion = [{"role": "assistant", "content": f"\\boxed{{{answer}}}"}]
    return reward([completion], [f"${gold}$"])[0] == 1


def math_verify(folder: Path) -> Judge:
    """math-verify itself."""
    del folder
    from math_verify import LatexExtractionConfig, parse, verify

    def judge(gold: str, answer: str) -> bool:
        values = [parse(f"\\boxed{{{text}}}", extraction_config=[LatexExtractionConfig()]) for text in (gold, answer)]
        return bool(values[0]) and bool(values[1]) and bool(verify(*values))

    return judge


GRADERS: dict[str, Callable[[Path], Judge]] = {
    "math-verify": math_verify,
    "hendrycks": hendrycks,
    "NeMo-Skills": nemo_skills,
    "OlympiadBench": olympiad_bench,
    "TRL": trl,
    "open-r1": open_r1,
}


def main(arguments: Sequence[str]) -> None:
    """Answer until the input ends."""
    answers = sys.stdout
    # Graders print warnings, which must not stand between the answers.
    with contextlib.redirect_stdout(sys.stderr):
        judge = GRADERS[arguments[1]](Path(arguments[0]))
        for line in sys.stdin:
            try:
                verdict = bool(judge(*json.loads(line)))
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
                verdict = False
            answers.write(json.dumps(verdict) + "\n")
            answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
