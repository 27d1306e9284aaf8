"""Problems of reasoning-gym, of the families whose right answer is one text.

The library's own scorers are not used: some of them execute the answer, and most give partial credit. An answer is
compared as text, or as an expression if any expression with the right value is right. Families with several right
answers and no such rule are left out, and so are those in which a copy of the question would be a right answer.

Source: Reasoning Gym, arXiv:2505.24760, version 0.1.25 of the library.
"""

import hashlib
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from types import ModuleType

from aha.runs.seeds import derive_seed
from aha.types import Problem

__all__ = ["EXCLUDED", "GYM_DOMAINS", "gym_problems"]

_TEXT = (
    *("acre", "aiw", "arc_1d", "base_conversion", "basic_arithmetic", "bf", "binary_alternation", "caesar_cipher"),
    *("calendar_arithmetic", "chain_sum", "circuit_logic", "color_cube_rotation", "count_bits", "count_primes"),
    *("course_schedule", "emoji_mystery", "family_relationships", "figlet_font", "game_of_life_halting", "gcd"),
    *("gsm_symbolic", "isomorphic_strings", "knights_knaves", "largest_island", "lcm", "leg_counting"),
    *("letter_counting", "list_functions", "mahjong_puzzle", "maze", "mini_sudoku", "needle_haystack"),
    *("number_format", "number_sequence", "products", "ransom_note", "rectangle_count", "rotate_matrix"),
    *("rotten_oranges", "self_reference", "simple_equations", "simple_geometry", "spell_backward"),
    *("string_insertion", "string_manipulation", "string_splitting", "string_synthesis", "sudoku", "syllogism"),
    *("word_sequence_reversal", "word_sorting", "zebra_puzzles"),
)
_EXPRESSIONS = ("countdown", "puzzle24")  # any expression with the right value is right

GYM_DOMAINS: Mapping[str, str] = {**dict.fromkeys(_TEXT, "text"), **dict.fromkeys(_EXPRESSIONS, "countdown")}
"""The domain of each family, which decides how answers are compared."""

_SEVERAL = "has several right answers to a question"
_FORM = "asks for a number or a formula in a form that a comparison by value would not check"
_LAYOUT = "asks for a layout of its own that a comparison of text would not do justice"

EXCLUDED: Mapping[str, str] = {
    name: f"family {name!r} {reason}"
    for reason, names in {
        _SEVERAL: (
            *("boxnet", "codeio", "cryptarithm", "graph_color", "group_anagrams", "jugs", "knight_swap", "n_queens"),
            *("palindrome_generation", "palindrome_partitioning", "path_star", "propositional_logic", "quantum_lock"),
            *("rubiks_cube", "rush_hour", "sentence_reordering", "shortest_path", "sokoban", "survo"),
            *("tower_of_hanoi", "tsumego", "word_ladder", "kakurasu", "letter_jumble", "composite"),
        ),
        _FORM: (
            *("advanced_geometry", "bitwise_arithmetic", "coin_flip", "complex_arithmetic", "decimal_arithmetic"),
            *("decimal_chain_sum", "dice", "fraction_simplification", "intermediate_integration"),
            *("polynomial_equations", "polynomial_multiplication", "power_function", "prime_factorization"),
            *("simple_integration", "time_intervals"),
        ),
        _LAYOUT: (
            *("ab", "arc_agi", "binary_matrix", "futoshiki", "game_of_life", "manipulate_matrix", "modulo_grid"),
            *("number_filtering", "number_sorting", "pool_matrix", "rearc", "spiral_matrix"),
        ),
    }.items()
    for name in names
}
"""Why a family is left out."""

_TRIES = 8  # questions that are made for each one wanted, because some come twice
_SEEDS = 1 << 31


def gym_problems(family: str, num: int, seed: int) -> list[Problem]:
    """Different problems of a family of reasoning-gym, with its default settings.

    Args:
        family: one of `GYM_DOMAINS`.
        num: number of problems, num >= 1.
        seed: seed of the family's generator; equal seeds give equal problems.

    Returns:
        The problems; the id of each tells the family and, by a digest, the question.

    Raises:
        ValueError: no such family, or one that is left out, or it has fewer different problems.
        RuntimeError: the extra `gym` is not installed.
    """
    if family not in GYM_DOMAINS:
        reason = EXCLUDED.get(family, f"no family {family!r} of reasoning-gym")
        raise ValueError(f"{reason}: take one of {', '.join(sorted(GYM_DOMAINS))}")

    if num < 1:
        raise ValueError(f"one problem at least, not {num}")

    # The library seeds its problem i by seed + i: seeds that follow each other would share nearly all problems.
    start = derive_seed("reasoning-gym", family, seed) % _SEEDS
    num_tries = num * _TRIES
    problems: dict[str, Problem] = {}

    # One of the families prints dots.
    with redirect_stdout(StringIO()):
        data = _gym().create_dataset(family, size=num_tries, seed=start)
        for index in range(num_tries):
            row = data[index]
            question = str(row["question"]).strip()
            answer = str(row["answer"]).strip()
            problems.setdefault(question, _problem(family, question, answer))
            if len(problems) == num:
                return list(problems.values())

    raise ValueError(f"family {family!r} made {len(problems)} different problems in {num_tries} tries, not {num}")


def _problem(family: str, question: str, answer: str) -> Problem:
    contents = f"{question}\0{answer}".encode()
    digest = hashlib.sha256(contents).hexdigest()[:12]
    return Problem(id=f"gym/{family}/{digest}", question=question, answer=answer, domain=GYM_DOMAINS[family])


def _gym() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import reasoning_gym  # type: ignore[import-untyped]  # the library ships no types
    except ImportError as error:
        raise RuntimeError("reasoning-gym needs the package `reasoning-gym`: pip install 'aha[gym]'") from error
    module: ModuleType = reasoning_gym
    return module
