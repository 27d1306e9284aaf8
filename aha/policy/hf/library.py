"""`transformers`: its models made from the content of a config.json, and kept quiet."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from aha.policy.hf.attention import NAME, UnsupportedModelError, attend
from aha.runs.libraries import import_transformers

__all__ = ["Parts", "causal_model", "in_words", "library_for", "parts_of", "quiet", "settings_of"]


def in_words(error: Exception) -> str:
    """An error of the library in one short line: for a strange file they are those of whatever it stumbles over."""
    reason = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {reason}"


def library_for(model_type: object) -> ModuleType:
    """`transformers`, for models of this kind.

    Raises:
        RuntimeError: the extra `hf` is not installed.
    """
    try:
        return import_transformers()
    except ImportError as error:
        raise RuntimeError(
            f"models of the kind {model_type!r} are run through the package `transformers`: pip install 'aha[hf]' "
            f"({in_words(error)})"
        ) from error


@contextmanager
def quiet(library: ModuleType) -> Iterator[None]:
    """A context in which `transformers` shows neither warnings nor progress: what matters of them is checked here."""
    logging = library.utils.logging
    verbosity = logging.get_verbosity()
    has_progress_bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_progress_bars:
            logging.enable_progress_bar()


def settings_of(described: Mapping[str, Any], *, is_tied: bool | None = None) -> Any:
    """The configuration object of `transformers` for a config.json.

    Args:
        described: the content of the file.
        is_tied: whether the output head is the embedding; as the file says where None.
    """
    library = library_for(described["model_type"])
    with quiet(library):
        # What is read may be changed by its reader.
        settings = library.CONFIG_MAPPING[described["model_type"]].from_dict(copy.deepcopy(dict(described)))
    if is_tied is not None:
        settings.tie_word_embeddings = is_tied
    return settings


def causal_model(settings: Any, weights: Mapping[str, torch.Tensor] | None = None) -> tuple[Any, Mapping[str, Any]]:
    """A language model of `transformers` whose attention asks a `Context`.

    Args:
        settings: from `settings_of`.
        weights: its weights by the names of the files; some initial values where None.

    Returns:
        The model, and what `transformers` reports of weights that do not fit; nothing where no weights were given.
    """
    library = library_for(settings.model_type)
    library.AttentionInterface.register(NAME, attend)
    dtype = torch.float32 if weights is None else next(iter(weights.values())).dtype
    options = {"attn_implementation": NAME, "dtype": dtype, "trust_remote_code": False}
    report: Mapping[str, Any] = {}
    with quiet(library):
        if weights is None:
            model = library.AutoModelForCausalLM.from_config(settings, **options)
        else:
            # Without a path: the library never opens a file, which might hold pickles, code or adapters.
            kind = library.MODEL_FOR_CAUSAL_LM_MAPPING[type(settings)]
            del options["trust_remote_code"]
            # What does not fit is in the report, and whoever asked refuses it.
            options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
            model, report = kind.from_pretrained(None, config=settings, state_dict=dict(weights), **options)

    # A policy has no dropout: what it is trained on is what it sampled.
    model.eval()
    return model, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a language model of `transformers`.

    Attributes:
        backbone: name of the module that makes hidden states of tokens.
        head: name of the output head.
        layers: path of the list of layers.
    """

    backbone: str
    head: str
    layers: str


def parts_of(model: nn.Module, num_layers: int) -> Parts:
    """Where the parts of a language model of `transformers` are.

    Args:
        model: the model.
        num_layers: its layers.

    Raises:
        UnsupportedModelError: it is not made of a backbone with a list of layers, and an output head without a bias.
    """
    children = dict(model.named_children())
    weighty = [name for name, child in children.items() if any(True for _ in child.parameters())]
    backbone = str(model.base_model_prefix)
    heads = [name for name in weighty if name != backbone]
    if backbone not in children or len(heads) != 1:
        raise UnsupportedModelError(
            f"the model is made of {', '.join(weighty)}: a backbone and one output head are supported"
        )

    head = children[heads[0]]
    if not isinstance(head, nn.Linear):
        raise UnsupportedModelError(
            f"the output head ({heads[0]}) is a {type(head).__name__}: only a plain projection is supported"
        )
    if head.bias is not None:
        raise UnsupportedModelError(
            f"the output head ({heads[0]}) has a bias: only a projection without one is supported"
        )

    for name, module in children[backbone].named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            return Parts(backbone=backbone, head=heads[0], layers=f"{backbone}.{name}")
    raise UnsupportedModelError(f"the backbone has no list of {num_layers} layers")
