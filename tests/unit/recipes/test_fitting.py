"""Which numbers a run has whose user names none."""

from pathlib import Path

import pytest
import torch
from tiny import letters_tokenizer, tiny_config, tiny_policy

from aha.policy.config import PolicyConfig
from aha.recipes import fitting
from aha.recipes.fitting import TINY_MODEL, fit, fit_in_words, memory_of_stage
from aha.recipes.r1.scales import R1_SCALES
from aha.recipes.scales import R1_ZERO_SCALES
from aha.recipes.sft import SFT_SCALES
from aha.training.checkpoint import write_checkpoint
from aha.training.memory import GIB

LARGE = tiny_config(
    hidden_size=512,
    intermediate_size=2048,
    num_hidden_layers=6,
    num_attention_heads=8,
    head_dim=64,
    max_position_embeddings=8192,
)
CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with a model of about 20 million parameters, much memory and no GPU."""
    monkeypatch.setattr(fitting, "read_config", lambda folder: LARGE)
    monkeypatch.setattr(fitting, "model_folder_of", Path)
    monkeypatch.setattr(fitting, "available_bytes", lambda device: 1000 * GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 1000 * GIB))
    return monkeypatch


def test_lengths_end_with_the_positions_of_the_model(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(fitting, "read_config", lambda folder: LARGE.model_copy(update={"max_position_embeddings": 300}))
    found = fit(R1_SCALES, "model")
    config = found.config
    assert {config.zero.zero.max_new_tokens, config.zero.evaluation.max_new_tokens, config.cold.max_new_tokens} == {150}
    assert {config.dev1.max_tokens, config.rewards.training.max_tokens} == {300}
    assert "lengths end with its 300 positions" in found.says


def shape_of(num_parameters: int) -> PolicyConfig:
    """A shape with about so many parameters, most of them in the embeddings."""
    return tiny_config(vocab_size=num_parameters // 32, max_position_embeddings=8192)


def test_a_model_that_is_small_has_the_scale_of_the_built_in_one(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", tiny_policy(tiny_config()), letters_tokenizer(), state={})
    found = fit(R1_ZERO_SCALES, str(tmp_path / "model"))
    assert (found.scale, found.config) == ("tiny", R1_ZERO_SCALES["tiny"])


@pytest.mark.parametrize(
    ("share", "has_cuda", "device", "scale"),
    [
        (0.9, True, "auto", "tiny"),
        (1.1, False, "auto", "small"),
        (1.1, True, "auto", "gpu"),
        (1.1, True, "cuda", "gpu"),
        (1.1, True, "cpu", "small"),
    ],
)
def test_the_scale_follows_from_size_and_device(
    share: float, has_cuda: bool, device: fitting.Device, scale: str, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(fitting, "read_config", lambda folder: shape_of(int(share * TINY_MODEL)))
    machine.setattr(torch.cuda, "is_available", lambda: has_cuda)
    found = fit(R1_ZERO_SCALES, "model", device)
    assert (found.scale, found.config) == (scale, R1_ZERO_SCALES[scale])
    assert found.says.startswith(f"scale {scale}: the model has ")


def test_what_was_chosen_is_said(machine: pytest.MonkeyPatch) -> None:
    fits = [fit(scales, "model") for scales in (R1_ZERO_SCALES, SFT_SCALES)]
    of_run, of_sft = (fit_in_words(found.says, found.config) for found in fits)
    assert all(says.startswith("scale small: the model has ") for says in (of_run, of_sft))
    assert fit_in_words("", R1_ZERO_SCALES["small"]) == ""
    loop, lesson = R1_ZERO_SCALES["small"].zero, SFT_SCALES["small"].sft
    assert f"learning rate {loop.optimizer.learning_rate:g}, {loop.iterations} iterations of " in of_run
    assert f"updates of {lesson.batch_size} x {lesson.max_tokens} tokens" in of_sft


def test_the_first_saving_that_suffices_is_taken(machine: pytest.MonkeyPatch) -> None:
    """With less and less memory: one process, then moments in 8 bits, then adapters at ten times the rate."""
    plain = R1_ZERO_SCALES["small"]

    def changes_with(limit: float) -> dict[str, object]:
        machine.setattr(fitting, "available_bytes", lambda device: int(limit / fitting.USABLE_SHARE) + 1)
        config = fit(R1_ZERO_SCALES, "model").config
        optimizer = config.zero.optimizer
        found = {"processes": config.processes, "state": optimizer.state, "rank": optimizer.lora.rank}
        assert optimizer.learning_rate == plain.zero.optimizer.learning_rate * (10 if optimizer.lora.rank else 1)
        return found

    def memory(num_processes: int, state: str = "float32") -> int:
        stage = plain.zero.model_copy(update={"optimizer": plain.zero.optimizer.model_copy(update={"state": state})})
        return memory_of_stage(stage, LARGE, CPU, num_processes=num_processes)

    assert changes_with(memory(2)) == {"processes": 2, "state": "float32", "rank": 0}
    assert changes_with(memory(2) - 2) == {"processes": 1, "state": "float32", "rank": 0}
    assert changes_with(memory(1)) == {"processes": 1, "state": "float32", "rank": 0}
    assert changes_with(memory(1) - 2) == {"processes": 1, "state": "8-bit", "rank": 0}
    assert changes_with(memory(1, "8-bit") - 2) == {"processes": 1, "state": "float32", "rank": 16}
    # Where nothing suffices the numbers stay, and the doctor refuses them.
    assert changes_with(1) == {"processes": 2, "state": "float32", "rank": 0}


def test_every_stage_of_a_recipe_takes_part_and_reward_models_have_no_adapters(machine: pytest.MonkeyPatch) -> None:
    plain = R1_SCALES["small"]
    one_process = memory_of_stage(plain.zero.zero, LARGE, CPU, num_processes=1)
    machine.setattr(fitting, "available_bytes", lambda device: int(0.95 * one_process))
    config = fit(R1_SCALES, "model").config
    # A recipe of many stages is validated as a whole, as its options are.
    assert type(config).model_validate(config.model_dump()) == config
    ranks = [config.zero.zero, config.dev1, config.dev2, config.scenarios, config.students.llama]
    assert {stage.optimizer.lora.rank for stage in ranks} == {16}
    assert config.rewards.training.optimizer.lora.rank == 0


def test_each_process_on_a_gpu_has_a_card_of_its_own(machine: pytest.MonkeyPatch) -> None:
    stage = R1_ZERO_SCALES["gpu"].zero.model_copy(update={"group_size": 2, "problems_per_iteration": 1})
    on_card = [memory_of_stage(stage, LARGE, torch.device("cuda"), num_processes=number) for number in (1, 2)]
    on_cpu = [memory_of_stage(stage, LARGE, CPU, num_processes=number) for number in (1, 2)]
    assert on_card[0] == on_card[1]
    assert on_cpu[1] == 2 * on_cpu[0]
