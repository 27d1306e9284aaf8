"""A shape that cannot be is refused where it is named."""

import pytest
from pydantic import ValidationError
from tiny import tiny_config


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ({"head_dim": 5}, "multiple of 2"),
        ({"num_hidden_layers": 0}, "greater than 0"),
        ({"model_type": "mamba"}, "'qwen2', 'qwen3', 'llama' or 'mistral'"),
        ({"model_type": "qwen2", "attention_bias": True}, "attention_bias is a setting of llama and qwen3; qwen2 has"),
        ({"rope_scaling": {"factor": 8}}, "original_max_position_embeddings\n  Field required"),
        (
            {"rope_scaling": {"factor": 8, "low_freq_factor": 4, "original_max_position_embeddings": 8192}},
            "low_freq_factor 4.0 must be below high_freq_factor 4.0",
        ),
        ({"num_experts": 8}, "Extra inputs are not permitted"),
    ],
)
def test_illegal_shapes_are_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        tiny_config(**changes)


def test_a_shape_does_not_change() -> None:
    config = tiny_config()
    with pytest.raises(ValidationError, match="frozen"):
        config.hidden_size = 64  # type: ignore[misc]  # that is the point
