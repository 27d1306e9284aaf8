"""Checkpoints are whole or absent, damage is found out, and what is read is what was written, bit for bit."""

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from peers import make_batch, objective, weights_of
from tiny import letters_tokenizer, tiny_config, tiny_policy, world_tokenizer
from torch import nn
from torch.optim import Optimizer

from aha.policy.transformer import Transformer
from aha.training.checkpoint import (
    MANIFEST,
    publish_model,
    read_model,
    read_state,
    restore_optimizers,
    verify,
    weights_digest,
    write_checkpoint,
)
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner
from aha.training.optimizer import adamw, muon_and_adamw

FILES = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "trainer.json",
    "trainer.safetensors",
)
STATE = {"stage": "zero", "iteration": 3, "step": 12, "shares": [0.1, 1e-300], "note": "等"}

OptimizerFactory = Callable[[nn.Module, OptimizerConfig], list[Optimizer]]


def make_learner(policy: Transformer, factory: OptimizerFactory = adamw) -> Learner[Transformer]:
    optimizers = factory(policy, OptimizerConfig(learning_rate=1e-2, weight_decay=0.1))
    return Learner(policy, optimizers, factor=lambda step: 0.5**step, grad_clip=0.1)


def trained(factory: OptimizerFactory = adamw, *, num_steps: int = 2) -> Learner[Transformer]:
    """A learner that has moments."""
    learner = make_learner(tiny_policy(tiny_config()), factory)
    for seed in range(num_steps):
        learner.step(make_batch(seed), objective, name="a batch")
    return learner


@cache
def finished(num_steps: int = 2) -> Learner[Transformer]:
    """The same, for tests that leave it as it is."""
    return trained(num_steps=num_steps)


def write(folder: Path, learner: Learner, **state: object) -> None:
    reference = tiny_policy(tiny_config(), seed=1)
    write_checkpoint(
        folder,
        learner.model,
        letters_tokenizer(),
        state={**STATE, **state},
        optimizers=learner.optimizers,
        reference=reference,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint to copy."""
    folder = tmp_path_factory.mktemp("template") / "here"
    write(folder, finished())
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """A checkpoint."""
    return shutil.copytree(template, tmp_path / "here")


# Round trip


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    learner = trained()
    write(tmp_path / "here", learner)
    policy, tokenizer = read_model(tmp_path / "here")
    state, tensors = read_state(tmp_path / "here")
    assert policy.config == learner.model.config
    assert weights_of(policy).keys() == weights_of(learner.model).keys()
    assert all(torch.equal(weights_of(policy)[name], weight) for name, weight in weights_of(learner.model).items())
    assert tokenizer.raw.to_str() == letters_tokenizer().raw.to_str()
    assert (tokenizer.end_id, tokenizer.pad_id) == (letters_tokenizer().end_id, letters_tokenizer().pad_id)
    assert state == STATE
    for name, weight in weights_of(tiny_policy(tiny_config(), seed=1)).items():
        assert torch.equal(tensors[f"reference.{name}"], weight)


@pytest.mark.parametrize("factory", [adamw, muon_and_adamw])
def test_the_next_step_is_bit_for_bit_the_one_that_was_interrupted(factory: OptimizerFactory, tmp_path: Path) -> None:
    learner = trained(factory)
    write(tmp_path / "here", learner)
    policy, _ = read_model(tmp_path / "here")
    resumed = make_learner(policy, factory)
    resumed.num_steps = 2
    restore_optimizers(resumed.optimizers, read_state(tmp_path / "here")[1])
    forgetful = make_learner(read_model(tmp_path / "here")[0], factory)
    forgetful.num_steps = 2
    for seed in (7, 8):
        metrics = [one.step(make_batch(seed), objective, name="a batch") for one in (learner, resumed)]
        assert metrics[0] == metrics[1]
        forgetful.step(make_batch(seed), objective, name="a batch")
    for name, weight in weights_of(learner.model).items():
        assert torch.equal(weights_of(resumed.model)[name], weight), name
        assert not torch.equal(weights_of(forgetful.model)[name], weight), name
    for ours, theirs in zip(learner.optimizers, resumed.optimizers, strict=True):
        moments, found = ours.state_dict()["state"], theirs.state_dict()["state"]
        assert moments.keys() == found.keys()
        for index, values in moments.items():
            assert all(torch.equal(found[index][name], value) for name, value in values.items())
            assert {name: value.dtype for name, value in values.items()} == {
                name: value.dtype for name, value in found[index].items()
            }


@pytest.mark.parametrize("factory", [adamw, muon_and_adamw])
def test_optimizers_without_moments_are_restored_without_moments(factory: OptimizerFactory, tmp_path: Path) -> None:
    learner = trained(factory, num_steps=0)
    write_checkpoint(tmp_path / "here", learner.model, letters_tokenizer(), state=STATE, optimizers=learner.optimizers)
    _, tensors = read_state(tmp_path / "here")
    restore_optimizers(learner.optimizers, tensors)
    assert tensors == {}
    assert all(optimizer.state_dict()["state"] == {} for optimizer in learner.optimizers)


def test_equal_checkpoints_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write(tmp_path / name, trained())
    assert contents(tmp_path / "one") == contents(tmp_path / "other")
    assert weights_digest(tmp_path / "one") == weights_digest(tmp_path / "other")


def test_nothing_in_a_checkpoint_is_executable(folder: Path) -> None:
    assert sorted(contents(folder)) == sorted([*FILES, MANIFEST])
    for name, content in contents(folder).items():
        if name.endswith(".safetensors"):
            size = int.from_bytes(content[:8], "little")
            described = json.loads(content[8 : 8 + size])
            assert {entry["dtype"] for key, entry in described.items() if key != "__metadata__"} == {"F32"}
        else:
            content.decode("utf-8")


# Atomic


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Lets no file grow beyond so many bytes, as on a disk that is full; only inside, since pytest writes files too."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [100, 3_000, 40_000, 100_000])
def test_a_full_disk_leaves_the_old_checkpoint(size: int, folder: Path) -> None:
    before, learner = contents(folder), finished(3)
    assert max(map(len, before.values())) > 100_000
    with pytest.raises(OSError, match=rf"File too large: '.*{folder.name}"), full_disk(size):
        write(folder, learner)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    verify(folder)


@pytest.mark.parametrize("failing_call", [1, 2])
def test_a_failing_rename_leaves_the_old_checkpoint(
    failing_call: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, learner, replace, calls = contents(folder), finished(3), os.replace, iter(range(1, 10))

    def fail_once(source: Path, target: Path) -> None:
        if next(calls) == failing_call:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(OSError, match="No space left"):
        write(folder, learner)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_interrupt_leaves_the_old_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder)

    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(folder, finished(3))
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_new_checkpoint_takes_the_place_of_an_old_one(folder: Path) -> None:
    before = contents(folder)
    write(folder, finished(3), step=99)
    assert read_state(folder)[0]["step"] == 99
    assert contents(folder)["model.safetensors"] != before["model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("leftover", [".here.part", ".here.old"])
def test_what_a_killed_writer_left_is_no_obstacle(leftover: str, folder: Path) -> None:
    shutil.copytree(folder, folder.parent / leftover)
    (folder.parent / leftover / "stranger").touch()
    write(folder, finished(3), step=99)
    verify(folder)
    assert read_state(folder)[0]["step"] == 99
    assert "stranger" not in contents(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_parent_folders_are_made(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a" / "stages" / "here"
    write(folder, finished(), step=7)
    verify(folder)
    assert read_state(folder)[0]["step"] == 7


# Damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_damage_to_any_file_is_found_out(damage: Callable[[Path], None], name: str, folder: Path) -> None:
    damage(folder / name)
    # A model is read without its moments, which are several times its size.
    is_of_model = name != "trainer.safetensors"
    for read in (verify, read_state, *((read_model,) if is_of_model else ())):
        with pytest.raises(ValueError, match=f"{name}.*the checkpoint is damaged; use an earlier one"):
            read(folder)
    if not is_of_model:
        read_model(folder)


@pytest.mark.parametrize("damage", [cut, Path.unlink, lambda path: path.write_bytes(b"\xff\x00")])
def test_damage_to_the_checksums_is_found_out(damage: Callable[[Path], None], folder: Path) -> None:
    cut(folder / MANIFEST)
    damage(folder / MANIFEST)
    for read in (verify, read_model, read_state):
        with pytest.raises(ValueError, match=f"{MANIFEST}.*the checkpoint is damaged"):
            read(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for read in (verify, read_model, read_state):
        with pytest.raises(ValueError, match=f"no model folder at {tmp_path / 'gone'}"):
            read(tmp_path / "gone")


def test_a_model_from_elsewhere_has_no_checksums_and_no_state(folder: Path) -> None:
    for name in ("trainer.json", "trainer.safetensors", MANIFEST):
        (folder / name).unlink()
    policy, _ = read_model(folder)
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), finished().model.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"has no trainer.json: it is a model folder, but no checkpoint of a stage"):
        read_state(folder)


# Tokenizers of a model folder


def from_elsewhere(folder: Path, **changes: object) -> Path:
    """The folder as if somebody else had written it, with another tokenizer_config.json."""
    (folder / MANIFEST).unlink()
    (folder / "trainer.json").unlink()
    described = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")) | changes
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


def test_special_tokens_may_be_objects(folder: Path) -> None:
    from_elsewhere(folder, eos_token={"content": "<eos>", "special": True}, pad_token=None)
    _, tokenizer = read_model(folder)
    assert (tokenizer.end_id, tokenizer.pad_id) == (1, 1)


def test_a_tokenizer_without_an_end_is_refused(folder: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        content.pop("eos_token_id", None)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"names no eos_token"):
        read_model(from_elsewhere(folder, eos_token=None))


def test_an_end_that_the_vocabulary_lacks_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no token '<\|im_end\|>'"):
        read_model(from_elsewhere(folder, eos_token="<|im_end|>"))


def test_a_tokenizer_that_cannot_be_read_is_refused(folder: Path) -> None:
    (from_elsewhere(folder) / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"the tokenizer in .* cannot be read"):
        read_model(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"has no tokenizer.json"):
        read_model(folder)


def test_special_tokens_that_are_no_object_are_refused(folder: Path) -> None:
    (from_elsewhere(folder) / "tokenizer_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer_config.json holds no JSON object: the checkpoint is damaged"):
        read_model(folder)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    world_tokenizer().raw.save(str(from_elsewhere(folder) / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"has \d+ tokens, the model only 11: they do not belong together"):
        read_model(folder)


# Publishing


def test_a_published_model_is_the_model_without_the_training(folder: Path, tmp_path: Path) -> None:
    out = publish_model(folder, tmp_path / "base", {"command": "aha pretrain"})
    verify(out)
    kept = set(FILES) - {"trainer.json", "trainer.safetensors"}
    assert set(contents(out)) == {*kept, MANIFEST, "provenance.json"}
    assert all(contents(out)[name] == contents(folder)[name] for name in kept)
    assert json.loads((out / "provenance.json").read_text(encoding="utf-8")) == {"command": "aha pretrain"}
    assert weights_digest(out) == weights_digest(folder)


def no_space(source: Path, target: Path) -> None:
    raise OSError(28, "No space left on device")


def test_publishing_replaces_whole_models_with_whole_models(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = publish_model(folder, tmp_path / "base", {"number": 1})
    before = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", no_space)
        with pytest.raises(OSError, match="No space left"):
            publish_model(folder, out, {"number": 2})
    assert contents(out) == before
    publish_model(folder, out, {"number": 2})
    assert json.loads((out / "provenance.json").read_text(encoding="utf-8")) == {"number": 2}
    cut(folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors is not what was written"):
        publish_model(folder, tmp_path / "other", {})


def test_the_digest_is_that_of_the_weights(folder: Path) -> None:
    digest = weights_digest(folder)
    write(folder, finished(), step=99)
    assert weights_digest(folder) == digest
    write(folder, finished(3))
    assert weights_digest(folder) != digest
    with pytest.raises(ValueError, match=r"has no model.safetensors"):
        weights_digest(folder.parent)
