"""Rewards from a reward model: helpfulness and harmlessness, which no rule can check.

The helpful reward model reads the summary alone, so that it does not interfere with the reasoning; the safety reward
model reads the whole response, because harm may stand anywhere in it.

Source: DeepSeek-R1, arXiv:2501.12948v1, 2.3.4, and v2, 3.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aha.policy.reward_model import Reads, RewardModel, end_response, score_responses
from aha.prompts.parsing import parse_response
from aha.prompts.templates import Template, continuation
from aha.prompts.tokenizer import Tokenizer
from aha.types import Problem, Rollout, Verdict

__all__ = ["LearnedReward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedReward:
    """A reward function that scores responses with a reward model.

    Attributes:
        name: name of its part of the reward, `helpfulness` or `harmlessness`.
        model: the reward model.
        tokenizer: the model's tokenizer, which need not be the policy's.
        key: key of the model's checkpoint; functions of equal name, key and `reads` are the same function.
        reads: the part of a response that the model reads, as in its training: `summary` (what follows the thinking) or
            `response` (all of it).
        template: the prompt around a question, as in the model's training.
    """

    name: str
    model: RewardModel = field(compare=False, repr=False)
    tokenizer: Tokenizer = field(compare=False, repr=False)
    key: str
    reads: Reads
    template: Template = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuses to show the model another part of a response than it was trained on."""
        if self.reads != self.model.reads:
            raise ValueError(
                f"the reward model of {self.name!r} was trained on the {self.model.reads}, not on the {self.reads}"
            )

    @property
    def __name__(self) -> str:
        """The name of its part of the reward."""
        return self.name

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        """The verdict on one rollout; see `judge_all`."""
        return self.judge_all([(problem, rollout)])[0]

    def judge_all(self, pairs: Sequence[tuple[Problem, Rollout]]) -> list[Verdict]:
        """The verdict on each rollout.

        sigmoid(r(x, y) - bias)

        A response that exceeds the model's positions is cut at its end; the prompt is kept.

        Args:
            pairs: problems, each with the rollout that is judged.

        Returns:
            Scores in (0, 1), with the raw score in the reason; 0 where the model reads summaries and there is none. A
            score in a batch differs from the score of the rollout alone by rounding, less than 1e-6.

        Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1 (what is read; no limit of length at inference). Ours: the
        sigmoid. The papers give a reward model no scale. Within a group of one prompt the advantage takes any scale
        out, but the score is added to rule rewards of 0 or 1 and should weigh about as much as they do.
        """
        indices: list[int] = []
        problems: list[Problem] = []
        texts: list[str] = []
        for index, (problem, rollout) in enumerate(pairs):
            text = self._text(rollout)
            if text is not None:
                indices.append(index)
                problems.append(problem)
                texts.append(text)

        # In float64: in float32 the sigmoid of a score above 17 is 1, and all better responses would be equal.
        logits_B = self._logits(problems, texts)
        scores_B = torch.sigmoid(logits_B.double())

        verdicts = [Verdict(score=0.0, reason="no summary to read")] * len(pairs)
        for index, logit, score in zip(indices, logits_B.tolist(), scores_B.tolist(), strict=True):
            # As the head gives it, before the bias is taken off.
            raw_score = logit + float(self.model.bias)
            verdicts[index] = Verdict(score=score, reason=f"the model scores the {self.reads} {raw_score:.4f}")

        return verdicts

    def _text(self, rollout: Rollout) -> str | None:
        """The part of a response that the model reads; None where there is no summary to read."""
        # All of it, also the thinking: harm may stand anywhere.
        if self.reads == "response":
            return rollout.text
        return parse_response(rollout.text).summary or None

    def _logits(self, problems: Sequence[Problem], texts: Sequence[str]) -> Tensor:
        """The model's scores of texts as responses to problems, minus the bias, [B]."""
        prompts = [self.template(problem.question) for problem in problems]
        prompt_ids = self.tokenizer.encode_prompts(prompts)

        responses = []
        for prompt, text in zip(prompts, texts, strict=True):
            response = continuation(prompt, text)

            # A remote engine may reply with half a surrogate pair, which no tokenizer accepts.
            responses.append(response.encode(errors="replace").decode())
        response_ids = self.tokenizer.encode_all(responses)

        prompt_tokens = []
        response_tokens = []
        max_tokens = self.model.config.max_position_embeddings
        for ids_of_prompt, ids_of_response in zip(prompt_ids, response_ids, strict=True):
            # With the type: an empty list would become a tensor of floats.
            prompt_T, response_T = end_response(
                torch.tensor(ids_of_prompt, dtype=torch.int64),
                torch.tensor(ids_of_response, dtype=torch.int64),
                end_id=self.tokenizer.end_id,
                max_tokens=max_tokens,
            )
            prompt_tokens.append(prompt_T)
            response_tokens.append(response_T)

        return score_responses(self.model, prompt_tokens, response_tokens)
