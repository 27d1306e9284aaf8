"""Every stage reads its models to the device of its run, whatever it goes on with.

The run is told that it computes on `meta`, a device without numbers. A reader that watches writes down where it is told
to put the weights, and puts them where the test can compute.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import evenness, letters_tokenizer, tiny_config, tiny_policy

from aha.actors.local_actors import LocalActors
from aha.policy import pretrained, reward_model
from aha.policy.weights import load_weights
from aha.prompts.templates import bare
from aha.recipes.base_model import open_base
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RejectionConfig, SupervisedConfig
from aha.stages.evaluate import Setting, evaluate
from aha.stages.harvests.harvest import HarvestInputs, harvest, write_demonstrations
from aha.stages.harvests.labelling import Labelled
from aha.stages.reward_models.sources import InMemoryPreferences
from aha.stages.reward_models.train import HELPFULNESS
from aha.stages.reward_models.train import reward_model as train_reward_model
from aha.stages.run import Interrupted, Run
from aha.stages.sft import sft
from aha.training.checkpoint import write_checkpoint
from aha.training.world import World
from aha.types import Checkpoint, Demonstration, Preference, Problem

DEVICE = torch.device("meta")
PROBLEMS = [Problem(id="p", question="a b c d", answer="a", domain="text")]
PREFERENCES = InMemoryPreferences(
    preferences=[
        Preference(problem_id=f"p{n}", prompt="a b", responses=("c d", "e f"), qualities=(1.0, 0.0), source="test")
        for n in range(2)
    ]
)


@pytest.fixture
def start(tmp_path: Path) -> Checkpoint:
    write_checkpoint(tmp_path / "start", tiny_policy(tiny_config()), letters_tokenizer(), state={})
    return open_base(tmp_path / "start")


@pytest.fixture
def read_to(start: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Where models are read to, in order."""
    devices: list[torch.device] = []

    def watching(model: Any, folder: Path, *, device: torch.device | str, **options: Any) -> None:
        devices.append(torch.device(device))
        load_weights(model, folder, device="cpu", **options)

    for module in (pretrained, reward_model):
        monkeypatch.setattr(module, "load_weights", watching)
    return devices


def new_run(tmp_path: Path, *, is_stopped: bool = False) -> Run:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir(exist_ok=True)
    return Run(folder=folder, seed=0, world=World(device=DEVICE), _asked_to_stop=is_stopped)


def harvested(run: Run, start: Checkpoint) -> None:
    pick = Labelled(source="test", reads="response", template=bare, label=lambda *_: None, is_comparison=True)
    inputs = HarvestInputs(policy=start, problems=PROBLEMS, reward={"text": {}}, template=bare)
    config = RejectionConfig(num_problems=1, num_samples=2, num_kept=2, max_new_tokens=4)
    harvest(run, "kept", inputs=inputs, pick=pick, config=config)


def evaluated(run: Run, start: Checkpoint) -> None:
    config = EvaluationConfig(num_problems=1, num_samples=2, max_new_tokens=4)
    setting = Setting(template=bare, reward={"text": {evenness: 1.0}})
    evaluate(run, "end", policy=start, problems=PROBLEMS, config=config, setting=setting)


def tuned(run: Run, start: Checkpoint) -> None:
    row = Demonstration(problem_id="p", question="a b", response="c d", domain="text", language="en", source="test")
    data = write_demonstrations(run, "given", [row], key="given")
    config = SupervisedConfig(epochs=1, batch_size=1, max_tokens=64)
    sft(run, "dev1", policy=start, data=[data], config=config, template=bare)


def preferred(run: Run, start: Checkpoint) -> Checkpoint:
    config = SupervisedConfig(epochs=1, batch_size=1, max_tokens=64)
    return train_reward_model(
        run, "rm", policy=start, data=PREFERENCES, held_out=PREFERENCES, config=config, kind=HELPFULNESS
    )


@pytest.mark.parametrize("stage", [harvested, evaluated, tuned, preferred])
def test_a_stage_computes_where_its_run_does(
    stage: Callable[[Run, Checkpoint], object], start: Checkpoint, tmp_path: Path, read_to: list[torch.device]
) -> None:
    stage(new_run(tmp_path), start)
    assert read_to
    assert set(read_to) == {DEVICE}


def test_a_reward_model_that_goes_on_computes_where_its_run_does(
    start: Checkpoint, tmp_path: Path, read_to: list[torch.device]
) -> None:
    with pytest.raises(Interrupted):
        preferred(new_run(tmp_path, is_stopped=True), start)
    read_to.clear()
    preferred(new_run(tmp_path), start)
    assert read_to == [DEVICE]


def test_a_learned_reward_computes_where_it_is_told(
    start: Checkpoint, tmp_path: Path, read_to: list[torch.device]
) -> None:
    trained = preferred(new_run(tmp_path), start)
    read_to.clear()
    LocalActors(world=World(device=DEVICE)).learned_reward(trained, name="helpfulness", template=bare)
    assert read_to == [DEVICE]
