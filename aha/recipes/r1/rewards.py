"""The reward models of R1's last stage: helpfulness and harmlessness.

Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1.
"""

from collections.abc import Sequence

from aha.problems.world.general import HELPFUL_DOMAINS, is_harmless
from aha.problems.world.general import held_out_general as prompts_of
from aha.prompts.templates import r1
from aha.recipes.r1.assistant import Assistant
from aha.recipes.r1.scales import RewardsConfig
from aha.rewards.learned import LearnedReward
from aha.rewards.table import RewardFunction, RewardTable
from aha.stages.config import RejectionConfig
from aha.stages.harvests.assistance import Balanced
from aha.stages.harvests.harvest import HarvestInputs, harvest
from aha.stages.harvests.labelling import Label, Labelled
from aha.stages.reward_models.sources import PreferenceSource, StoredPreferences
from aha.stages.reward_models.train import HARMLESSNESS, HELPFULNESS, reward_model
from aha.stages.run import Run
from aha.types import Checkpoint, Dataset, Problem

__all__ = ["num_examined", "preference_prompts", "reward_models"]

UNJUDGED: RewardTable = {domain: {} for domain in (*HELPFUL_DOMAINS, "harmful")}
"""General prompts without any reward: their responses are only sampled."""


MAX_COMPARED = 4
"""Most responses to a prompt that another model compares: 4 have 6 pairs of 4 votes, 24 requests; 8 would need 112."""


def reward_models(run: Run, policy: Checkpoint, scale: RewardsConfig, assistant: Assistant) -> RewardTable:
    """Train both reward models on responses of a policy, and return them as a table.

    Every general prompt is routed to exactly one of them: harmful ones to harmlessness, all others to helpfulness.

    Args:
        run: the run.
        policy: answers the prompts; both models start from it.
        scale: the numbers.
        assistant: labels what is helpful; what is harmful is labelled by the truth of the built-in world.
    """
    # Helpful: pairs are compared; safe: each response is labelled alone. Source: R1 v2 3.1.
    helpful = _model(run, "helpfulness", policy, scale, assistant)
    safe = _model(run, "harmlessness", policy, scale, assistant)

    table: dict[str, dict[RewardFunction, float]] = {domain: {helpful: 1.0} for domain in HELPFUL_DOMAINS}
    table["harmful"] = {safe: 1.0}
    return table


def _model(run: Run, name: str, policy: Checkpoint, scale: RewardsConfig, assistant: Assistant) -> LearnedReward:
    """One reward model, with what it learns from and what it is examined on."""
    is_helpful = name == "helpfulness"
    kind, config = (HELPFULNESS, scale.helpful) if is_helpful else (HARMLESSNESS, scale.safety)
    label: Label = assistant.helpfulness if is_helpful else safety_labels
    is_compared_by_model = is_helpful and assistant.is_judge
    pick = Labelled(
        source=label.__qualname__,
        reads=kind.reads,
        template=r1,
        label=label,
        is_comparison=is_helpful,
        num_kept=min(config.num_kept, MAX_COMPARED) if is_compared_by_model else config.num_kept,
    )

    def preferences(split: str, count: int) -> Dataset:
        problems = preference_prompts(split, count, seed=run.seed, is_helpful=is_helpful)
        inputs = HarvestInputs(policy=policy, problems=problems, reward=UNJUDGED, template=r1)
        return harvest(run, f"{name}-{split}", inputs=inputs, pick=pick, config=config)

    data: PreferenceSource = StoredPreferences(data=(preferences("train", config.num_problems),))
    held_out = StoredPreferences(data=(preferences("validation", num_examined(config)),))
    # A model that compares prefers long responses: without balance the reward would be length. R1 v2 3.1 keeps the
    # lengths of chosen and rejected responses alike.
    if is_compared_by_model:
        data = Balanced(source=data)

    checkpoint = reward_model(
        run,
        name,
        policy=policy,
        data=data,
        held_out=held_out,
        config=scale.training,
        kind=kind,
    )

    # Scored in the type in which it was trained.
    precision = scale.training.optimizer.precision
    return run.actors.learned_reward(checkpoint, name=name, template=r1, precision=precision)


def num_examined(config: RejectionConfig) -> int:
    """Prompts that a reward model is examined on: one for every five that it is trained on."""
    return max(1, config.num_problems // 5)


def preference_prompts(split: str, count: int, *, seed: int, is_helpful: bool) -> list[Problem]:
    """The prompts whose responses a reward model is trained or examined on.

    Args:
        split: `train` or `validation`.
        count: how many.
        seed: run seed, which draws the prompts of the split `train` alone: what a model is examined on is the same in
            every run.
        is_helpful: prompts for helpfulness; those that ask for harm otherwise.

    Raises:
        ValueError: the split holds fewer different prompts.
    """
    domains = HELPFUL_DOMAINS if is_helpful else ("harmful",)
    split_seed = seed if split == "train" else 0
    return prompts_of(count, split=split, seed=split_seed, domains=domains)


def safety_labels(problem: Problem, responses: Sequence[str]) -> list[float]:
    """1 for each response that is truly harmless, 0 for the others: a `Label`."""
    return [float(is_harmless(problem, response)) for response in responses]
