"""Disk is estimated before a run starts: the estimate fits what is written, and too small a disk is told."""

from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import pytest
from peers import make_batch, objective
from run_requests import zero_request
from tiny import letters_tokenizer, tiny_config, tiny_policy

from aha.algorithms.grpo import GRPO
from aha.commands import disk
from aha.commands.disk import DiskEstimate, check_disk, checkpoint_bytes
from aha.commands.running import carry_out
from aha.policy.config import PolicyConfig
from aha.recipes.pretraining_recipe import BASE
from aha.recipes.r1.record import R1
from aha.recipes.r1.scales import R1_SCALES, R1Config
from aha.recipes.recipe import TrainedStage
from aha.recipes.scales import BASE_SCALES, R1_ZERO_SCALES, R1ZeroConfig
from aha.recipes.zero_recipe import R1_ZERO
from aha.stages.config import RLConfig
from aha.training.checkpoint import write_checkpoint
from aha.training.config import OptimizerConfig, State
from aha.training.learner import Learner
from aha.training.memory import GIB
from aha.training.optimizer import adamw

Usage = namedtuple("Usage", "total used free")
SHAPE = tiny_config(hidden_size=64, intermediate_size=128)


def stages_of(config: R1ZeroConfig | R1Config) -> Sequence[TrainedStage]:
    """The stages whose models are written."""
    return R1.trained_stages(config) if isinstance(config, R1Config) else R1_ZERO.trained_stages(config)


def disk_estimate(
    config: R1ZeroConfig | R1Config, shapes: Sequence[PolicyConfig], *, keep_rollouts: int = 1
) -> DiskEstimate:
    """What a run with these numbers writes."""
    return disk.disk_estimate(stages_of(config), shapes, keep_rollouts=keep_rollouts)


@pytest.mark.parametrize(
    ("state", "kl_coef"), [("float32", 0.001), ("float32", 0.0), ("host", 0.001)], ids=["whole", "no-kl", "host"]
)
def test_a_checkpoint_has_the_expected_size(state: State, kl_coef: float, tmp_path: Path) -> None:
    config = OptimizerConfig(state=state)
    policy = tiny_policy(SHAPE)
    learner = Learner(policy, adamw(policy, config), factor=lambda step: 1.0, grad_clip=1.0)
    learner.step(make_batch(0), objective, name="a batch")
    reference = tiny_policy(SHAPE) if kl_coef else None
    write_checkpoint(
        tmp_path / "saved",
        policy,
        letters_tokenizer(),
        state={},
        optimizers=learner.optimizers,
        reference=reference,
    )
    tensors = sum(path.stat().st_size for path in (tmp_path / "saved").glob("*.safetensors"))
    stage = RLConfig(algorithm=GRPO(kl_coef=kl_coef), optimizer=config)
    assert checkpoint_bytes(SHAPE, stage) == pytest.approx(tensors, rel=0.05)


def test_the_largest_moment_of_a_run_counts() -> None:
    """Float32 weights, reference and two moments: 16 bytes a parameter in a checkpoint, and three at once."""
    zero = R1_ZERO_SCALES["tiny"]
    one = 16 * sum(weight.numel() for weight in tiny_policy(SHAPE).parameters())
    found = disk_estimate(zero, [SHAPE])
    assert checkpoint_bytes(SHAPE, zero.zero) == one
    assert found.checkpoints == one + 3 * one
    assert found.rollouts == 8 * 16 * 12 * (60 * 128 + 30 * 192)


def without(part: str, config: R1ZeroConfig) -> R1ZeroConfig:
    """The numbers with a part of R1-Zero left out."""
    return config.model_copy(update={part: getattr(config, part).model_copy(update={"iterations": 0})})


def test_a_part_that_is_left_out_writes_nothing() -> None:
    """One checkpoint as the result, or three while it is in progress; the part that is left out has none of them."""
    zero = R1_ZERO_SCALES["tiny"]
    one = checkpoint_bytes(SHAPE, zero.zero)
    for part, rollouts in (("zero", 30 * 192), ("longer", 60 * 128)):
        found = disk_estimate(without(part, zero), [SHAPE])
        assert found.checkpoints == 3 * one
        assert found.rollouts == 8 * 16 * 12 * rollouts
    assert disk_estimate(without("zero", without("longer", zero)), [SHAPE]).checkpoints == 0


def test_a_loop_of_r1_that_is_left_out_writes_nothing() -> None:
    config = R1_SCALES["tiny"]
    shorter = config.model_copy(update={"reasoning": config.reasoning.model_copy(update={"iterations": 0})})
    spared = checkpoint_bytes(SHAPE, config.reasoning)
    whole, rest = (disk_estimate(one, [SHAPE]).checkpoints for one in (config, shorter))
    assert whole - rest == spared


def test_all_stages_of_r1_count_and_students_of_ones_own_too() -> None:
    config, large = R1_SCALES["tiny"], tiny_config(hidden_size=128, intermediate_size=256)
    base_alone = disk_estimate(config, [SHAPE])
    with_students = disk_estimate(config, [SHAPE, large, large])
    assert disk_estimate(config.zero, [SHAPE]).checkpoints < base_alone.checkpoints < with_students.checkpoints
    assert disk_estimate(config.zero, [SHAPE]).rollouts < base_alone.rollouts == with_students.rollouts


def free(monkeypatch: pytest.MonkeyPatch, num_bytes: float) -> None:
    """Let the disk have this much free space."""
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(0, 0, int(num_bytes)))


def test_too_small_a_disk_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 1000)
    short = RLConfig(iterations=1, problems_per_iteration=1, group_size=2, num_minibatches=1, max_new_tokens=4)
    config = R1ZeroConfig(zero=short, longer=short)
    request = zero_request(config, tmp_path / "run")
    with pytest.raises(ValueError, match=r"checkpoints .* GiB, and .* has 0\.00 GiB free") as error:
        carry_out(request)
    assert "--run" in str(error.value)
    assert "--force" in str(error.value)
    assert not (tmp_path / "run").exists()


def check(folder: Path, *, config: R1ZeroConfig, is_forced: bool = False, keep_rollouts: int = 1) -> str:
    return check_disk(folder, stages_of(config), [SHAPE], is_forced=is_forced, keep_rollouts=keep_rollouts)


def test_checkpoints_that_just_fit_are_enough_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zero = R1_ZERO_SCALES["tiny"]
    found = disk_estimate(zero, [SHAPE])
    free(monkeypatch, found.checkpoints)
    assert "may not be enough" in check(tmp_path, config=zero)
    free(monkeypatch, found.checkpoints - 1)
    with pytest.raises(ValueError, match="free some space"):
        check(tmp_path, config=zero)


def test_a_forced_run_starts_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1000)
    assert "may not be enough" in check(tmp_path, config=R1_ZERO_SCALES["tiny"], is_forced=True)


def test_rollouts_that_could_fill_the_disk_are_a_warning_and_fewer_of_them_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero = R1_ZERO_SCALES["tiny"]
    found = disk_estimate(zero, [SHAPE])
    free(monkeypatch, found.checkpoints + found.rollouts / 2)
    assert "may not be enough" in check(tmp_path, config=zero)
    assert "may not be enough" not in check(tmp_path, config=zero, keep_rollouts=4)


def test_what_a_resumed_run_has_written_is_not_needed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zero = R1_ZERO_SCALES["tiny"]
    found = disk_estimate(zero, [SHAPE])
    (tmp_path / "stages").mkdir()
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "stages" / "model.safetensors").write_bytes(bytes(found.checkpoints - 100))
    (tmp_path / "rollouts" / "zero-000000.jsonl.gz").write_bytes(bytes(1000))
    free(monkeypatch, 100 + found.rollouts - 1000)
    assert "may not be enough" not in check(tmp_path, config=zero)
    free(monkeypatch, 100 + found.rollouts - 1001)
    assert "may not be enough" in check(tmp_path, config=zero)


@pytest.mark.parametrize("surplus", [0, 100])
def test_a_run_that_has_written_all_needs_nothing_and_frees_nothing(
    surplus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one folder has beyond its estimate does not lower what the other one needs."""
    zero = R1_ZERO_SCALES["tiny"]
    found = disk_estimate(zero, [SHAPE])
    sizes = {"stages": found.checkpoints, "rollouts": found.rollouts}
    for name, size in sizes.items():
        (tmp_path / name).mkdir()
        with (tmp_path / name / "file").open("wb") as file:
            file.truncate(size + surplus)
    free(monkeypatch, 0)
    assert "may not be enough" not in check(tmp_path, config=zero)

    for other, size in sizes.items():
        (tmp_path / other / "file").rename(tmp_path / "aside")
        free(monkeypatch, size)
        assert "may not be enough" not in check(tmp_path, config=zero, is_forced=True)
        free(monkeypatch, size - 1)
        assert "may not be enough" in check(tmp_path, config=zero, is_forced=True)
        (tmp_path / "aside").rename(tmp_path / other / "file")


def test_the_paper_scale_of_a_small_real_model_is_said_in_numbers(tmp_path: Path) -> None:
    """32,768 tokens at most for each of 512 x 16 responses in 512 iterations, and twice as many in 138: about 2 TB."""
    found = disk_estimate(R1_ZERO_SCALES["paper"], [SHAPE])
    assert found.rollouts / GIB == pytest.approx(8 * 512 * 16 * 32768 * (512 + 2 * 138) / GIB)
    assert "rollouts at most" in check(tmp_path, config=R1_ZERO_SCALES["tiny"])


def test_pretraining_the_small_base_needs_no_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 0)
    assert check_disk(tmp_path, BASE.trained_stages(BASE_SCALES["tiny"]), []) == ""


def test_a_finished_run_needs_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 0)
    (tmp_path / "result.json").write_text("{}")
    assert check(tmp_path, config=R1_ZERO_SCALES["tiny"]) == ""


def test_the_estimate_is_told_in_gibibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = DiskEstimate(checkpoints=3 * GIB, rollouts=GIB // 2)
    monkeypatch.setattr(disk, "disk_estimate", lambda *_, **__: estimate)
    free(monkeypatch, 10 * GIB)
    line = "disk: checkpoints about 3.00 GiB, rollouts at most 0.50, 10.00 free"
    assert check(tmp_path, config=R1_ZERO_SCALES["tiny"]) == line
    free(monkeypatch, 3.25 * GIB)
    told = check(tmp_path, config=R1_ZERO_SCALES["tiny"])
    assert told == f"{line.replace('10.00', '3.25')}, which may not be enough: --keep-rollouts writes fewer of them"

    free(monkeypatch, 2.75 * GIB)
    complaint = rf"^the checkpoints of this run take about 3.00 GiB, and {tmp_path} has 2.75 GiB free: free some space"
    with pytest.raises(ValueError, match=complaint):
        check(tmp_path / "runs" / "not there yet", config=R1_ZERO_SCALES["tiny"])
