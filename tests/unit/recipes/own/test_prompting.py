"""Prompts of a user's own: files of Jinja and system messages, which the checkpoint of a training remembers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import tiny_config, tiny_policy, world_tokenizer

from aha.prompts.templates import bare, r1, r1_zero
from aha.recipes.base_model import open_base
from aha.recipes.own.prompting import named_template, own_template
from aha.training.checkpoint import write_checkpoint
from aha.types import Checkpoint

CHAT = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
FORGETFUL = "{{ messages[-1]['content'] }}"

Model = Callable[[str], Checkpoint]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A checkpoint with a chat template."""

    def give(chat_template: str) -> Checkpoint:
        tokenizer = world_tokenizer().with_chat_template(chat_template)
        folder = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        write_checkpoint(folder, tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer, state={})
        return open_base(folder)

    return give


def test_ours_go_by_name(model: Model) -> None:
    start = model(CHAT)
    names = ("auto", "r1_zero", "r1", "bare")
    assert [named_template(name, start) for name in names] == [r1_zero, r1_zero, r1, bare]
    assert own_template(start, "bare") is bare


def test_auto_is_the_checkpoints_own_or_the_other_one(model: Model) -> None:
    assert own_template(model(CHAT))("1 + 1 ?") == "[user] 1 + 1 ?\n[assistant]"
    assert own_template(model("")) is r1_zero
    assert own_template(model(""), otherwise="r1") is r1


def test_a_file_is_a_template(model: Model, tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("Q: {{ messages[0]['content'] }} A:", encoding="utf-8")
    assert named_template(str(tmp_path / "mine.jinja"), model(CHAT))("1 + 1 ?") == "Q: 1 + 1 ? A:"


@pytest.mark.parametrize("system", ["Be brief.", 'Say "no"\nor \\ so: {{ 试 }} 🙂'])
def test_a_system_message_stands_in_the_prompt_and_in_the_checkpoint(system: str, model: Model, tmp_path: Path) -> None:
    start = model(CHAT)
    (tmp_path / "mine.j2").write_text(CHAT, encoding="utf-8")
    for template in (
        named_template("chat", start, system=system),
        named_template(str(tmp_path / "mine.j2"), start, system=system),
        own_template(start, system=system),
    ):
        prompt = template("1 + 1 ?")
        assert prompt == f"[system] {system}\n[user] 1 + 1 ?\n[assistant]"
        # What a training writes into its checkpoint makes the same prompt without being told of the message.
        trained = model(world_tokenizer().trained_with(template).chat_template)
        assert own_template(trained)("1 + 1 ?") == prompt


def test_a_message_of_the_conversation_holds_over_the_one_of_the_template(model: Model) -> None:
    from aha.prompts.chat import chat, with_system

    tokenizer = world_tokenizer().with_chat_template(with_system(CHAT, "Be brief."))
    assert chat(tokenizer, system="Be long.")("?") == "[system] Be long.\n[user] ?\n[assistant]"


def test_what_every_text_begins_with_is_part_of_what_is_saved(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aha.prompts.tokenizer.Tokenizer.beginning", "<s>")
    (tmp_path / "without.jinja").write_text(FORGETFUL, encoding="utf-8")
    (tmp_path / "with.jinja").write_text("<s>" + FORGETFUL, encoding="utf-8")
    start = model(CHAT)
    for name in ("without", "with"):
        template = named_template(str(tmp_path / f"{name}.jinja"), start)
        assert template("?") == "<s>?"
        assert world_tokenizer().trained_with(template).chat_template == "<s>" + FORGETFUL


@pytest.mark.parametrize("name", ["auto", "r1_zero", "r1", "bare"])
def test_our_own_take_no_system_message(name: str, model: Model) -> None:
    with pytest.raises(
        ValueError, match=r"--system: the template \w+ has no place for a system message; take --template"
    ):
        named_template(name, model(""), system="Be brief.")


def test_a_checkpoint_of_ours_takes_none_either(model: Model) -> None:
    trained = model(world_tokenizer().trained_with(r1_zero).chat_template)
    with pytest.raises(ValueError, match="--system: the checkpoint was trained with a template that has no place"):
        own_template(trained, system="Be brief.")


def test_what_cannot_be_a_template_is_named(model: Model, tmp_path: Path) -> None:
    start = model("")
    (tmp_path / "broken.jinja").write_text("{% if %}", encoding="utf-8")
    (tmp_path / "latin.jinja").write_bytes(b"\xe9")
    (tmp_path / "large.jinja").write_text("x" * (1 << 20) + "x", encoding="utf-8")
    (tmp_path / "forgetful.jinja").write_text(FORGETFUL, encoding="utf-8")
    for name, said, system in (
        ("chat", "has no chat template .*take r1_zero, r1, bare, or a file of Jinja", ""),
        ("mine", "--template mine: neither auto, r1_zero, r1, bare, chat, nor a file whose name ends in .jinja", ""),
        (str(tmp_path / "none.jinja"), "none.jinja: neither auto", ""),
        (str(tmp_path / "broken.jinja"), "broken.jinja cannot be understood", ""),
        (str(tmp_path / "latin.jinja"), "latin.jinja cannot be read: 'utf-8'", ""),
        (str(tmp_path / "large.jinja"), "the file is larger than 1 MiB", ""),
        (str(tmp_path / "forgetful.jinja"), "forgetful.jinja leaves a system message out of the prompt", "Be brief."),
    ):
        with pytest.raises(ValueError, match=said):
            named_template(name, start, system=system)


def test_transformers_renders_the_message_in_the_same_way() -> None:
    """The Jinja that is saved uses nothing beyond the environment of `transformers`."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from aha.prompts.chat import with_system

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    source = with_system(CHAT, 'Say "no"\n🙂')
    rendered = environment.from_string(source).render(
        messages=[{"role": "user", "content": "?"}], add_generation_prompt=True
    )
    assert rendered == '[system] Say "no"\n🙂\n[user] ?\n[assistant]'
