"""Tokenizers in and out of Hugging Face model folders: tokenizer.json and the files that describe it.

What is written here `transformers` reads as the same tokenizer, and a folder that was read is written back with all
that its tokenizer_config.json said.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RawTokenizer

from aha.prompts.tokenizer import Tokenizer
from aha.runs.objects import read_object, write_object

__all__ = ["read_tokenizer", "write_tokenizer"]

_DESCRIPTION = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"
_GENERATION = "generation_config.json"


def read_tokenizer(folder: Path, *, room: int) -> Tokenizer:
    """The tokenizer of a model folder.

    Special tokens stand in tokenizer_config.json, or else in special_tokens_map.json; all tokens that end a response
    in generation_config.json, or else in config.json, which may also be the only ones to name the end token. Texts that
    end a response stand in generation_config.json.

    Args:
        folder: a Hugging Face model folder.
        room: tokens that its model knows, the rows of the embedding.

    Raises:
        ValueError: a file is missing or damaged, the tokenizer has no end token or lacks one of those that are named,
            or it has more tokens than the model; the message says what and where.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        hint = " (convert tokenizer.model with transformers)" if (folder / "tokenizer.model").exists() else ""
        raise ValueError(f"{folder} has no tokenizer.json: it is not a complete model folder{hint}")

    try:
        raw = RawTokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more exact
        raise ValueError(f"the tokenizer in {folder} cannot be read ({error}): the checkpoint is damaged") from None

    described = _object(folder / _DESCRIPTION)
    special = _object(folder / "special_tokens_map.json")
    # tokenizer_config.json holds over the other file, but a null in it says nothing.
    special |= {name: value for name, value in described.items() if value is not None}
    end = _content(special.get("eos_token"))
    pad = _content(special.get("pad_token"))
    begin = _content(special.get("bos_token"))

    stop_ids = _stop_ids(folder) if end is None else []
    if stop_ids:
        end = raw.id_to_token(stop_ids[0])

    if end is None:
        raise ValueError(
            f"{folder / _DESCRIPTION} names no eos_token, and generation_config.json no eos_token_id: "
            "without one of them no response can end"
        )

    # The largest id counts and not the number of tokens: ids may have gaps. An embedding may have more rows than that.
    num_tokens = max(raw.get_vocab().values(), default=0) + 1
    if num_tokens > room:
        raise ValueError(
            f"the tokenizer in {folder} has {num_tokens} tokens, the model only {room}: they do not belong together"
        )

    stop_strings = _stop_strings(folder / _GENERATION)
    try:
        tokenizer = Tokenizer(
            raw,
            end=end,
            pad=pad,
            begin=begin,
            chat_template=_chat_template(folder, described),
            stop_ids=_stop_ids(folder),
            described=described,
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None

    return tokenizer.with_stop_strings(stop_strings)


def _object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; an empty one where there is no file."""
    return read_object(path) if path.exists() else {}


def _content(token: object) -> str | None:
    """Text of a token that is given as a string or as an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _stop_ids(folder: Path) -> list[int]:
    """The ids of the tokens at which generation stops."""
    for name in (_GENERATION, "config.json"):
        named = _object(folder / name).get("eos_token_id")
        if named is None:
            continue

        ids = list(named) if isinstance(named, list) else [named]
        # The library raises an error of its own for ids beyond 32 bits.
        if not all(isinstance(id, int) and not isinstance(id, bool) and 0 <= id < 2**32 for id in ids):
            raise ValueError(f"{folder / name}: eos_token_id must be one token id or a list of them; it is {named!r}")
        return ids

    return []


def _stop_strings(path: Path) -> list[str]:
    """The texts at which generation stops, in the format of `transformers`; mostly none."""
    named = _object(path).get("stop_strings")
    if named is None:
        return []

    texts = named if isinstance(named, list) else [named]
    if not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"{path}: stop_strings must be a text or a list of texts, none of them empty; it is {named!r}")

    return texts


def _chat_template(folder: Path, described: Mapping[str, Any]) -> str:
    """The chat template of a model folder, from its own file or from the description; empty without one."""
    if (folder / _TEMPLATE).exists():
        # As bytes: reading as text would change line ends, and prompts have to agree letter for letter.
        return (folder / _TEMPLATE).read_bytes().decode("utf-8", errors="replace")

    template = described.get("chat_template")
    if isinstance(template, list):
        template = _default(template)
    return template if isinstance(template, str) else ""


def _default(templates: Iterable[object]) -> object:
    """The one called `default` among several named templates."""
    for template in templates:
        if isinstance(template, dict) and template.get("name") == "default":
            return template.get("template")
    return None


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and, where there is one, chat_template.jinja into an existing folder.

    Texts that end a response join the generation_config.json that is there.

    Args:
        tokenizer: the tokenizer; what was read of its description is written back.
        folder: where.
    """
    (folder / "tokenizer.json").write_text(tokenizer.raw.to_str(pretty=True), encoding="utf-8")
    defaults = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": tokenizer.end,
        "clean_up_tokenization_spaces": False,
    }

    # A folder that named no padding token gets none: the end token only stands in for it.
    if not tokenizer.described or tokenizer.pad != tokenizer.end:
        defaults["pad_token"] = tokenizer.pad
    if tokenizer.begin is not None:
        defaults["bos_token"] = tokenizer.begin

    # What the folder said holds, but a null does not undo a token that was found elsewhere.
    stated = {name: value for name, value in tokenizer.described.items() if name not in defaults or value is not None}
    described = {**defaults, **stated}

    if tokenizer.chat_template:
        # Also here, for readers that do not know the file of its own.
        described["chat_template"] = tokenizer.chat_template
        (folder / _TEMPLATE).write_bytes(tokenizer.chat_template.encode("utf-8"))

    (folder / _DESCRIPTION).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if tokenizer.stop_strings:
        settings = _object(folder / _GENERATION)
        write_object(folder / _GENERATION, {**settings, "stop_strings": list(tokenizer.stop_strings)})
