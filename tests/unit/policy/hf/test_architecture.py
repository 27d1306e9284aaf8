"""What a model of another architecture may need: what a policy does not have is named before any weight is read."""

import json
import sys
from pathlib import Path

import pytest
from hf_models import settings

from aha.policy.config import CacheSpec
from aha.policy.pretrained import read_config, read_policy


def folder_with(tmp_path: Path, kind: str, **changes: object) -> Path:
    """A folder with a config.json alone."""
    described = settings(kind, vocab_size=11, **changes)
    kept = {name: value for name, value in described.items() if value is not ...}
    (tmp_path / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    return tmp_path


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    # A model that no other test reads: what was read once is remembered.
    folder = folder_with(tmp_path, "gpt_neox", hidden_size=52)
    for read in (read_config, read_policy):
        with pytest.raises(RuntimeError, match=r"'gpt_neox' are run through .*`transformers`: pip install 'aha\[hf\]'"):
            read(folder)


@pytest.mark.full
def test_the_shape_is_that_of_the_model(tmp_path: Path) -> None:
    config = read_config(folder_with(tmp_path, "gemma"))
    assert (config.model_type, config.vocab_size, config.hidden_size) == ("gemma", 11, 32)
    assert (config.intermediate_size, config.num_hidden_layers, config.num_attention_heads) == (48, 2, 4)
    assert (config.max_position_embeddings, config.tie_word_embeddings) == (256, True)
    assert config.cache_spec() == CacheSpec(num_layers=2, num_heads=1, key_size=16, value_size=16)


@pytest.mark.full
def test_a_window_as_long_as_the_positions_is_no_window(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention"]
    assert read_config(folder_with(tmp_path, "gemma3_text", sliding_window=256, layer_types=kinds, head_dim=8))
    assert read_config(folder_with(tmp_path, "phi3", sliding_window=256))


REFUSED = {
    "bert": (
        "bert",
        {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        r"the output head \(cls\) is a BertOnlyMLMHead",
    ),
    "unknown": ("no_such_model", {}, r"neither aha nor transformers [\d.]+ knows such models"),
    "no language model": ("vit", {}, r"transformers cannot read it|has no language model of this kind"),
    "broken": ("phi3", {"hidden_size": "wide"}, r"transformers cannot read it \(.*hidden_size"),
    "heads that do not fit": ("gpt_neox", {"num_attention_heads": 0}, r"transformers cannot r"),
    "encoder-decoder": ("bart", {"is_encoder_decoder": True}, r"an encoder-decoder is not supported"),
    "several parts": ("gemma3", {"text_config": {}}, r"a model of several parts \(text_config\)"),
    "quantised": ("phi3", {"quantization_config": {"quant_method": "fp8"}}, r"quantised checkpoints are not supported"),
    "experts": ("mixtral", {"num_local_experts": 4}, r"a mixture of experts is not supported"),
    "capped": ("gemma2", {}, r"final_logit_softcapping 30\.0 is not supported"),
    "capped attention": (
        "gemma2",
        {"final_logit_softcapping": None},
        r"attn_logit_softcapping 50\.0 is not supported",
    ),
    "scaled logits": ("granite", {"logits_scaling": 8.0}, r"logits_scaling 8\.0 is not supported"),
    "scaled logits of cohere": ("cohere", {}, r"logit_scale 0\.0625 is not supported"),
    "dropout": ("gpt2", {}, r"_pdrop 0\.1 is not supported: .* set it to 0 in config\.json"),
    "ALiBi": ("falcon", {"alibi": True}, r"\(ALiBi\) are not supported"),
    "attention of its own": ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}, r"its layers are not 2 attentions"),
    "window": (
        "phi3",
        {"sliding_window": 100},
        r"sliding-window attention .* window of 100 tokens .* lower max_position_embeddings to 100",
    ),
    "window in some layers": (
        "gemma3_text",
        {"sliding_window": 100, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]},
        r"the window of 100 tokens",
    ),
    "convolutions": ("lfm2", {"layer_types": ["conv", "full_attention"]}, r"layers of the kind conv are not supported"),
    "recurrence": ("mamba", {}, r"transformers cannot r|its layers are not 2 attentions"),
    "two attentions in a layer": ("diffllama", {}, r"its layers are not 2 attentions, .* are \[0, 0, 1, 1\]"),
    "moving rotation": (
        "phi3",
        {
            "original_max_position_embeddings": 128,
            "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4},
        },
        r"rotary scaling 'longrope' is not supported",
    ),
    "moving rotation of another kind": (
        "olmo2",
        {"rope_theta": ..., "rope_parameters": {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0}},
        r"rotary scaling 'dynamic' is not supported",
    ),
    "bias of the head": ("phi", {}, r"the output head \(lm_head\) has a bias"),
}
"""Kind, changes to its config.json, and what is said of it."""


@pytest.mark.full
@pytest.mark.parametrize("name", list(REFUSED))
def test_what_a_policy_does_not_have_is_refused(name: str, tmp_path: Path) -> None:
    kind, changes, complaint = REFUSED[name]
    folder = folder_with(tmp_path, kind, **changes)
    with pytest.raises(ValueError, match=rf"config\.json: {kind}: .*({complaint})"):
        read_config(folder)
