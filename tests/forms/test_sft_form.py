"""Fine-tuning is its plain form, number by number: every update, and after a stop in the middle."""

from dataclasses import asdict
from pathlib import Path

import pytest
from forms.plain_draws import rows_of
from forms.plain_policy import read_weights
from forms.plain_sft import batches, plain_sft, read_examples
from forms.plain_update import distance, moments_distance

from aha.runs.folder import RunFolder
from aha.stages.config import SupervisedConfig
from aha.stages.harvests.harvest import write_demonstrations
from aha.stages.run import Interrupted, Run
from aha.stages.sft import sft
from aha.training.config import OptimizerConfig
from aha.types import Checkpoint, Demonstration

SETTINGS = SupervisedConfig(
    epochs=2,
    batch_size=2,
    max_tokens=48,
    optimizer=OptimizerConfig(learning_rate=5e-3, warmup_steps=2, final_share=0.1, grad_clip=2.0, weight_decay=0.1),
)
ROUNDING = 1e-3
"""Float32 keeps a gradient to about 1e-6 of its norm; AdamW divides by the root of the second moment, which magnifies
that where a gradient is nearly zero."""


def demonstrations() -> list[Demonstration]:
    """Sums of several lengths, so that chunks hold different numbers of them; two share their question."""
    numbers = [3, 14, 14, 27, 5, 36, 41, 8, 19]
    return [
        Demonstration(
            problem_id=f"p{place}",
            question=f"compute {number} + 1",
            response="<think> " + "check " * place + rf"</think> so the answer is \boxed {{ {number + 1} }} .",
            domain="arithmetic",
            language="en",
            source="test",
        )
        for place, number in enumerate(numbers)
    ]


def train(folder: Path, base: Checkpoint, *, stop_after: int = 0) -> Checkpoint:
    """The stage, from its start or from where it was stopped."""
    run, made = Run(folder=RunFolder(folder), seed=7), list[int]()

    def report(*_: object) -> None:
        made.append(1)
        run._asked_to_stop = len(made) == stop_after

    run.report = report
    data = write_demonstrations(run, "given", demonstrations(), key="sums")
    return sft(run, "dev1", policy=base, data=[data], config=SETTINGS)


def test_every_update_is_that_of_the_plain_form_and_a_stop_changes_none(base: Checkpoint, tmp_path: Path) -> None:
    given = [asdict(one) for one in demonstrations()]
    start = read_weights(base.path)
    form = plain_sft(base.path, given, SETTINGS.model_dump(), seed=7, stage="dev1")

    # Half of the updates, and what the checkpoint holds then.
    with pytest.raises(Interrupted, match="after update 3 of"):
        train(tmp_path, base, stop_after=3)
    (saved,) = (tmp_path / "stages" / "dev1").glob("iteration-*")
    expected = []
    for _ in range(3):
        training, metrics = next(form)
        expected.append(metrics)
    assert distance(read_weights(saved), training.copy(), start) < ROUNDING
    assert moments_distance(saved, training.moments()) < ROUNDING

    # The others, in another process as far as the stage can tell.
    done = train(tmp_path, base)
    states = list(form)
    training = states[-1][0]
    expected += [metrics for _, metrics in states]
    assert distance(read_weights(done.path), training.copy(), start) < ROUNDING

    logged = rows_of(tmp_path / "metrics.jsonl", stage="dev1")
    assert [row["step"] for row in logged] == list(range(1, len(expected) + 1))
    for row, metrics in zip(logged, expected, strict=True):
        assert {name: row[name] for name in metrics} == pytest.approx(metrics, rel=ROUNDING)
        assert row.keys() - metrics.keys() == {"stage", "iteration", "step", "seconds"}
    assert max(row["grad_norm"] for row in logged) > SETTINGS.optimizer.grad_clip


def test_the_order_is_random_and_follows_the_seed(base: Checkpoint) -> None:
    examples = read_examples(base.path, [asdict(one) for one in demonstrations()])
    settings = SETTINGS.model_dump()
    orders = [list(batches(examples, settings, seed, "dev1")) for seed in (7, 8)]
    assert orders[0] != orders[1]
    assert orders[0][: len(orders[0]) // 2] != orders[0][len(orders[0]) // 2 :]
