"""The prompt around a question, as the command line names it: a name, or a file of Jinja; with a system message."""

from pathlib import Path

from aha.policy.pretrained import read_config
from aha.prompts.chat import chat, with_system
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.templates import Template, bare, r1, r1_zero, template_of
from aha.prompts.tokenizer import Tokenizer
from aha.types import Checkpoint

__all__ = ["named_template", "own_template"]

_OURS: dict[str, Template] = {"r1_zero": r1_zero, "r1": r1, "bare": bare}

_SUFFIXES = (".jinja", ".jinja2", ".j2")
"""Endings of the names of template files."""

MAX_FILE_BYTES = 1 << 20
"""Largest template file that is read."""


def named_template(name: str, model: Checkpoint, *, system: str = "") -> Template:
    """A template by its name.

    Args:
        name: `r1_zero`, `r1` or `bare`; `chat`, the checkpoint's own; a file of Jinja; or `auto`, which is R1-Zero's.
        model: the checkpoint, whose tokenizer has the special tokens.
        system: the system message; empty leaves it to the template.

    Raises:
        ValueError: there is no such template, it cannot be understood, or it has no place for a system message.
    """
    name = "r1_zero" if name == "auto" else name
    if template := _OURS.get(name):
        if system:
            raise ValueError(
                f"--system: the template {name} has no place for a system message; take --template chat, or a file of "
                "Jinja with one"
            )
        return template

    tokenizer = _tokenizer(model)
    if name != "chat":
        return _from_file(Path(name), tokenizer, system)
    if not tokenizer.chat_template:
        raise ValueError(
            f"--template chat: {model.path} has no chat template (chat_template.jinja, or chat_template in "
            "tokenizer_config.json); take r1_zero, r1, bare, or a file of Jinja"
        )
    return _of_checkpoint(tokenizer, system)


def own_template(model: Checkpoint, name: str = "auto", *, otherwise: str = "r1_zero", system: str = "") -> Template:
    """A template by its name, where `auto` is the one that the checkpoint names.

    Args:
        model: the checkpoint.
        name: as in `named_template`.
        otherwise: what `auto` means where the checkpoint names none.
        system: as in `named_template`.

    Raises:
        ValueError: as in `named_template`; the checkpoint has no tokenizer.
    """
    if name != "auto":
        return named_template(name, model, system=system)
    tokenizer = _tokenizer(model)
    if not tokenizer.chat_template:
        return named_template(otherwise, model, system=system)
    return _of_checkpoint(tokenizer, system)


def _tokenizer(model: Checkpoint) -> Tokenizer:
    return read_tokenizer(model.path, room=read_config(model.path).vocab_size)


def _of_checkpoint(tokenizer: Tokenizer, system: str) -> Template:
    """The chat template of a checkpoint."""
    # Wording and format reward go by the template, so one of ours is known again where a checkpoint names it.
    ours = template_of(tokenizer.chat_template, beginning=tokenizer.beginning)
    if ours and not system:
        return ours
    if ours:
        raise ValueError(
            "--system: the checkpoint was trained with a template that has no place for a system message; leave the "
            "message out, or take --template FILE.jinja"
        )
    return _with_message(tokenizer, system, origin="chat_template.jinja of the checkpoint")


def _from_file(path: Path, tokenizer: Tokenizer, system: str) -> Template:
    """A template of the user's own."""
    if path.suffix not in _SUFFIXES or not path.is_file():
        names = ", ".join(["auto", *_OURS, "chat"])
        raise ValueError(f"--template {path}: neither {names}, nor a file whose name ends in {', '.join(_SUFFIXES)}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"--template {path}: the file is larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--template {path} cannot be read: {error}") from error

    # A program that renders the chat template of a checkpoint puts nothing before it: what every text begins with must
    # be a part of the template, unless the file has it already.
    template = _with_message(tokenizer.with_chat_template(source), system, origin=str(path))
    if template("1+1?").startswith(tokenizer.beginning):
        return template
    whole = tokenizer.with_chat_template(tokenizer.beginning + source)
    return _with_message(whole, system, origin=str(path))


def _with_message(tokenizer: Tokenizer, system: str, *, origin: str) -> Template:
    """The chat template of a tokenizer, with a system message as a part of it; it is tried on a question."""
    source = with_system(tokenizer.chat_template, system) if system else tokenizer.chat_template
    template = chat(tokenizer.with_chat_template(source), origin=origin)
    if system and system.strip() not in template("1+1?"):
        raise ValueError(f"--system: {origin} leaves a system message out of the prompt; take another template")
    return template
