"""Rewards that a model gives: helpfulness and harmlessness of what no rule can check.

The helpful one reads the summary alone, so that it does not interfere with the reasoning; the safe one reads the whole
response, because harm may stand anywhere in it.

Source: DeepSeek-R1, arXiv:2501.12948v1, 2.3.4, and v2, 3.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aha.policy.reward_model import Reads, RewardModel, ended, score_responses
from aha.prompts.parsing import parse_response
from aha.prompts.templates import Template, continuation
from aha.prompts.tokenizer import Tokenizer
from aha.types import Problem, Rollout, Verdict

__all__ = ["LearnedReward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedReward:
    """A reward function that asks a reward model.

    Attributes:
        name: name of its part of the reward, `helpfulness` or `harmlessness`.
        model: the reward model.
        tokenizer: its tokenizer, which need not be the policy's.
        key: key of the model's checkpoint; two of equal name, key and reading are the same function.
        reads: `summary`, what follows the thinking, or `response`, all of it; the model was trained on the same.
        template: the prompt around a question, as in the model's training.
    """

    name: str
    model: RewardModel = field(compare=False, repr=False)
    tokenizer: Tokenizer = field(compare=False, repr=False)
    key: str
    reads: Reads
    template: Template = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse to show a model what it was not trained on."""
        if self.reads != self.model.reads:
            raise ValueError(
                f"the reward model of {self.name!r} was trained on the {self.model.reads}, not on the {self.reads}"
            )

    @property
    def __name__(self) -> str:
        """Its name, as every function has one."""
        return self.name

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        """The verdict on one rollout; see `judge_all`."""
        return self.judge_all([(problem, rollout)])[0]

    def judge_all(self, pairs: Sequence[tuple[Problem, Rollout]]) -> list[Verdict]:
        """The verdict on each rollout.

        sigmoid(r(x, y) - bias)

        Text that is longer than the model's positions is cut at its end, the prompt is kept.

        Args:
            pairs: problems, each with the rollout that is judged.

        Returns:
            Scores in (0, 1), and the raw score in words; 0 where a summary is to be read and there is none. In a batch
            a score differs from the same alone by rounding, less than 1e-6.

        Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1 (what is read; no limit of length at inference). Ours: the
        sigmoid. The papers give a reward model no scale. Within a group of one prompt the advantage takes any scale
        out, but the score is added to rule rewards of 0 or 1 and should weigh about as much as they do.
        """
        texts = [self._text(rollout) for _, rollout in pairs]
        places = [place for place, text in enumerate(texts) if text is not None]
        scores_B = self._scores([pairs[place][0] for place in places], [texts[place] or "" for place in places])
        shares_B = torch.sigmoid(scores_B.double())
        verdicts = [Verdict(score=0.0, reason="no summary to read")] * len(pairs)
        for place, score, share in zip(places, scores_B.tolist(), shares_B.tolist(), strict=True):
            raw = score + float(self.model.bias)
            verdicts[place] = Verdict(score=share, reason=f"the model scores the {self.reads} {raw:.4f}")
        return verdicts

    def _text(self, rollout: Rollout) -> str | None:
        """What the model reads of a response; None where there is no summary to read."""
        return rollout.text if self.reads == "response" else parse_response(rollout.text).summary or None

    def _scores(self, problems: Sequence[Problem], texts: Sequence[str]) -> Tensor:
        """Scores of texts as responses to problems, less the bias, [B]."""
        limit = self.model.config.max_position_embeddings
        questions = [self.template(problem.question) for problem in problems]
        prompts = self.tokenizer.encode_prompts(questions)
        written = [continuation(prompt, text) for prompt, text in zip(questions, texts, strict=True)]
        # A remote engine may reply with half a character, which no tokenizer takes.
        responses = self.tokenizer.encode_all([text.encode(errors="replace").decode() for text in written])
        sequences = [
            ended(_tokens(prompt), _tokens(response), end_id=self.tokenizer.end_id, max_tokens=limit)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        return score_responses(self.model, [prompt for prompt, _ in sequences], [tokens for _, tokens in sequences])


def _tokens(ids: Sequence[int]) -> Tensor:
    return torch.tensor(ids, dtype=torch.int64)
