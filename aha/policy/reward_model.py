"""The reward model (r_phi): a policy whose output head is replaced by one number for a whole response.

DeepSeek-R1 has two of them, one for helpfulness and one for harmlessness: the policy's architecture with a scalar head
(v2, section 3.1). On disk it is a Hugging Face folder of `...ForSequenceClassification`, which `transformers` loads
with the same scores.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from aha.policy.config import HFConfig, PolicyConfig
from aha.policy.families import make_policy
from aha.policy.hf.files import read_backbone
from aha.policy.layout import Layout, pack
from aha.policy.policy import Policy
from aha.policy.pretrained import read_config, write_files
from aha.policy.weights import load_weights
from aha.runs.objects import read_object

__all__ = [
    "Reads",
    "RewardModel",
    "end_response",
    "from_policy",
    "read_reward_model",
    "score_responses",
    "write_reward_model",
]

Reads = Literal["summary", "response"]
"""What of a response a reward model reads: what follows the thinking, or all of it."""

_DESCRIPTION = "reward_model.json"


class RewardModel(nn.Module):
    """A score for a prompt with a response.

    Attributes:
        reads: what of a response it was trained to read.
        backbone: the policy without its output head.
        score: the head w, [1, D].
        bias: what is subtracted from every score, a buffer, [], float32 also where the weights are bfloat16.
    """

    def __init__(self, config: PolicyConfig, *, reads: Reads) -> None:
        """Make a reward model with torch's default initial values.

        Args:
            config: shape of the policy; whether the policy's output head is tied is forgotten.
            reads: what of a response it is to read.
        """
        super().__init__()
        self.reads = reads

        # With a tied head no second matrix [V, D] is made, only to be thrown away.
        self.backbone = make_policy(config.model_copy(update={"tie_word_embeddings": True}))
        delattr(self.backbone, self.backbone.head_name)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)
        self.register_buffer("bias", torch.zeros(()))
        self.bias: Tensor

    @property
    def config(self) -> PolicyConfig:
        """The shape of the policy."""
        return self.backbone.config

    def forward(self, layout: Layout, lengths_B: Tensor) -> Tensor:
        """Scores of sequences, each read at its last token.

        r(x, y) = w . h_T - bias

        Args:
            layout: a layout of these sequences.
            lengths_B: tokens of each.

        Returns:
            [B], float32 (float64 for a float64 model).

        Source: DeepSeek-R1, arXiv:2501.12948v2, section 3.1 (a scalar head on the policy's architecture); InstructGPT,
        arXiv:2203.02155, section 3.5 (the unembedding removed, the bias chosen so that demonstrations have mean 0).
        """
        device = self.bias.device

        # The last tokens are looked up where the sequences are, on the CPU, which does not wait for a GPU.
        last_B = layout.where_BT.gather(1, lengths_B[:, None] - 1)[:, 0]
        layout = layout.to(device)
        hidden_ND = self.backbone(layout.tokens_N, layout.positions_N, layout)
        last_BD = hidden_ND.index_select(0, last_B.to(device))

        # Scores are float32 or better: bfloat16 has too few digits to tell good responses apart.
        if last_BD.dtype != torch.float64:
            last_BD = last_BD.float()
        head_D = self.score.weight[0].to(last_BD.dtype)
        scores_B: Tensor = last_BD @ head_D - self.bias
        return scores_B


def from_policy(policy: Policy, generator: torch.Generator, *, reads: Reads) -> RewardModel:
    """A reward model that starts from a policy's weights, with a random head: normal, std 1/sqrt(D + 1).

    Args:
        policy: the policy; copied.
        generator: source of the head's draws.
        reads: what of a response it is to read.

    Source: Stiennon et al., arXiv:2009.01325, appendix B.1, for the head's initial values.
    """
    model = RewardModel(policy.config, reads=reads)
    weights = policy.state_dict()
    del weights[f"{policy.head_name}.weight"]
    model.backbone.load_state_dict(weights)

    std = (policy.config.hidden_size + 1) ** -0.5
    with torch.no_grad():
        model.score.weight.normal_(0.0, std, generator=generator)

    # Drawn in float32 on the CPU and then converted, so that the head is the same on every device.
    head_VD = policy.head_VD
    model.to(device=head_VD.device)
    # Not the buffers: those of other architectures are the frequencies of their rotations, which half precision spoils.
    for weight in model.parameters():
        weight.data = weight.data.to(head_VD.dtype)
    return _with_precise_bias(model, 0.0)


def _with_precise_bias(model: RewardModel, bias: float) -> RewardModel:
    """The model with this bias, float32 or better: bfloat16 would round every score by up to 1/256 of it."""
    weight = model.score.weight
    precise = torch.promote_types(weight.dtype, torch.float32)
    model.bias = torch.tensor(bias, device=weight.device, dtype=precise)
    return model


def end_response(prompt_T: Tensor, response_T: Tensor, *, end_id: int, max_tokens: int) -> tuple[Tensor, Tensor]:
    """A prompt and a response as a reward model reads them: closed by the end token, at which the score is read.

    Args:
        prompt_T: the prompt, [T0].
        response_T: the response without an end token, [T]; may be empty.
        end_id: the end token.
        max_tokens: tokens of both together, >= 1. Where there are more, the response loses its end; a prompt that is
            too long by itself loses its beginning.

    Returns:
        The prompt, and the response with its end token.
    """
    # One token is left for the end, at which the score is read.
    capacity = max_tokens - 1
    too_many = max(0, len(prompt_T) - capacity)
    prompt_T = prompt_T[too_many:]
    response_T = response_T[: capacity - len(prompt_T)]
    end_T = response_T.new_tensor([end_id])
    return prompt_T, torch.cat((response_T, end_T))


@torch.no_grad()
def score_responses(
    model: RewardModel, prompts: Sequence[Tensor], responses: Sequence[Tensor], *, max_tokens: int = 8192
) -> Tensor:
    """Scores of many responses, without a gradient; a prompt that several share is computed once.

    Args:
        model: the reward model.
        prompts: [T0] each.
        responses: [T] each, T >= 1, from `end_response`.
        max_tokens: tokens computed at once; bounds memory, and changes a score by no more than rounding.

    Returns:
        [B], on the CPU.
    """
    weight = model.score.weight
    sequences = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
    scores_B = torch.zeros(len(sequences), dtype=torch.promote_types(weight.dtype, torch.float32))

    # Rows with one prompt come one after the other, so that the prompt is computed once for all of a part.
    order = sorted(range(len(sequences)), key=lambda row: (prompts[row].tolist(), len(sequences[row]), row))
    parts: list[list[int]] = []
    remaining = 0
    for row in order:
        length = len(sequences[row])
        if length > remaining:
            parts.append([])
            remaining = max_tokens
        parts[-1].append(row)
        remaining -= length

    for part in parts:
        tokens_BT = pad_sequence([sequences[row] for row in part], batch_first=True)
        lengths_B = torch.tensor([len(sequences[row]) for row in part])
        prompt_lengths = [len(prompts[row]) for row in part]
        layout = pack(tokens_BT.to(weight.device), lengths_B, prompt_lengths)
        scores_B[part] = model(layout, lengths_B.to(weight.device)).cpu()
    return scores_B


def write_reward_model(model: RewardModel, folder: Path, *, end_id: int, pad_id: int) -> None:
    """Write config.json, model.safetensors and reward_model.json into an existing folder.

    `transformers` reads a score at the last token that is no padding, so a padding token that is the end token is not
    named: it would hide the end of every response.

    Args:
        model: the reward model.
        folder: where.
        end_id: token that ends a response.
        pad_id: token for padding.
    """
    weights: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        if name != "bias":
            weights[name.removeprefix("backbone.")] = weight

    described = {
        "eos_token_id": end_id,
        "pad_token_id": None if pad_id == end_id else pad_id,
        "bos_token_id": None,
        "num_labels": 1,
        "id2label": {"0": "reward"},
        "label2id": {"reward": 0},
    }
    write_files(weights, model.backbone, folder, kind="ForSequenceClassification", described=described)

    # `transformers` has no bias for this head, and no word for what of a response is read.
    description = {"bias": float(model.bias), "reads": model.reads}
    (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")


def read_reward_model(
    folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> RewardModel:
    """Read a reward model from a folder that `write_reward_model` wrote.

    Args:
        folder: the folder.
        device: where the parameters go.
        dtype: their type, whatever the file's; the bias has float32 at least.

    Raises:
        ValueError: no such folder, a missing or broken file, or weights that do not fit; the message says which.
    """
    config = read_config(folder)
    path = folder / _DESCRIPTION
    if not path.exists():
        raise ValueError(f"{folder} has no {_DESCRIPTION}: it is a model folder, but no reward model")

    description = read_object(path)
    bias = description.get("bias")
    reads = description.get("reads")
    if not isinstance(bias, int | float) or reads not in ("summary", "response"):
        raise ValueError(f"{path} needs a number `bias`, and `reads` of summary or response; it has {description}")

    # On the meta device nothing is drawn and allocated that the weights of the folder would replace.
    with torch.device("meta"):
        model = RewardModel(config, reads=reads)
    shape = model.config
    if isinstance(shape, HFConfig):
        model.backbone, head_1D = read_backbone(folder, shape, device=device, dtype=dtype)
        model.score.weight = nn.Parameter(head_1D)
    else:
        load_weights(model, folder, device=device, dtype=dtype, stored_name=lambda name: name.removeprefix("backbone."))
    return _with_precise_bias(model, float(bias))
