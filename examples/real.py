"""R1-Zero on a real pretrained model: SmolLM2-135M-Instruct learns to count legs, on two CPU cores.

    python examples/real.py SmolLM2-135M-Instruct.Q4_1.gguf

The questions are those of reasoning-gym's family `leg_counting`: *how many legs are there in total if you have 5 cows,
3 shrimps?* A cold start of 120 demonstrations shows the model how such a question is worked out. After it the model
knows the form, and is still wrong about shrimps, forgets to stop after the last sum, and adds up wrongly: what it does
right in one of eight responses and wrong in the others, reinforcement can make more frequent. No problem of the
training or of the test is one of the demonstrations, and none of the test is one of the training.

The results over three seeds are in docs/results/real.md. The same command again goes on where it was interrupted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import tyro
from reasoning_gym import create_dataset
from reasoning_gym.arithmetic.leg_counting import ANIMALS

import aha

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is run, and where."""

    model: tyro.conf.Positional[str]  # A GGUF file, a model folder, or hub:OWNER/NAME.
    out: Path = Path("runs/real")  # Folder of both runs.
    seed: int = 0  # Run seed of the reinforcement.
    iterations: int = 10  # Iterations of reinforcement.
    tested: int = 60  # Problems of the evaluation before and after, of the hundred that are held out.


def main(settings: Settings) -> None:
    """Make the data, fine-tune the model on the demonstrations, reinforce it, and say what came of it."""
    demonstrations, problems, test = make_data(num_demonstrations=120, num_held_out=100)

    # A short cold start: a longer one leaves little to choose from, since the model then hardly varies its responses.
    cold_start = aha.run(
        "sft",
        model=settings.model,
        demonstrations=demonstrations,
        template="r1_zero",
        folder=settings.out / "cold-start",
        settings={
            "sft.epochs": 1,
            "sft.batch-size": 2,
            "sft.max-tokens": 512,
            "sft.optimizer.learning-rate": 1e-4,
            "sft.optimizer.warmup-steps": 10,
            "processes": 2,
        },
    )

    trained = aha.run(
        "r1_zero",
        model=str(cold_start.model),
        problems=problems,
        test=test,
        template="r1_zero",
        folder=settings.out / f"r1-zero-{settings.seed}",
        seed=settings.seed,
        settings={
            "zero.iterations": settings.iterations,
            "longer.iterations": 0,
            "zero.problems-per-iteration": 12,
            "zero.group-size": 8,
            "zero.num-minibatches": 2,
            "zero.max-new-tokens": 80,
            # Without a KL term there is no reference, which would take a fifth of the time.
            "zero.algorithm.kl-coef": 0,
            "zero.optimizer.learning-rate": 2e-5,
            "zero.optimizer.warmup-steps": 2,
            "validation.num-problems": 8,
            "validation.num-samples": 4,
            "validation.max-new-tokens": 80,
            "evaluation.num-problems": settings.tested,
            "evaluation.num-samples": 8,
            "evaluation.max-new-tokens": 80,
            "processes": 2,
        },
    )
    start, end = trained.figures["start"]["pass@1"], trained.figures["end"]["pass@1"]
    print(f"pass@1 {start['value']:.3f} -> {end['value']:.3f}; responses side by side: {trained.page}")


def make_data(*, num_demonstrations: int, num_held_out: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Demonstrations of two to four kinds of animals, and other problems of two kinds for training and test."""
    seen: set[str] = set()
    shown = _entries(seen, size=2 * num_demonstrations, seed=101, max_kinds=4, max_of_a_kind=9)
    demonstrations = [_demonstration(*entry) for entry in islice(shown, num_demonstrations)]

    asked = _entries(seen, size=3000, seed=50_000, max_kinds=2, max_of_a_kind=5)
    problems = [{"question": question, "answer": answer} for question, _, answer in asked]
    return demonstrations, problems[num_held_out:], problems[:num_held_out]


def _entries(
    seen: set[str], *, size: int, seed: int, max_kinds: int, max_of_a_kind: int
) -> Iterator[tuple[str, dict[str, int], str]]:
    """Questions that are not in `seen`, which grows by them, with their animals and answers."""
    data = create_dataset(
        "leg_counting", size=size, seed=seed, min_animals=2, max_animals=max_kinds, max_instances=max_of_a_kind
    )
    for entry in data:
        question = " ".join(entry["question"].split())
        if question not in seen:
            seen.add(question)
            yield question, entry["metadata"]["animals"], entry["answer"]


def _demonstration(question: str, animals: dict[str, int], answer: str) -> Row:
    """A question with its answer, worked out: the legs of each kind, then a sum for each further kind."""
    steps = []
    legs = []
    for animal, count in animals.items():
        legs.append(count * ANIMALS[animal])
        name = f"{animal}s" if count > 1 else animal
        steps.append(f"{count} {name}: {count} * {ANIMALS[animal]} = {legs[-1]}.")

    total = legs[0]
    for more in legs[1:]:
        steps.append(f"{total} + {more} = {total + more}.")
        total += more
    return {"question": question, "response": f"<think> {' '.join(steps)} </think> <answer> {answer} </answer>"}


# Each process of a run imports this file, and must not start a run of its own.
if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
