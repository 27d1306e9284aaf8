"""Pretraining: the base model of the built-in world, from its corpus.

Every document is a sequence of its own. Nothing is learned from the constant beginning of the R1-Zero template, which
is computed once for all documents of an update.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aha.actors.local_actors import TrainingPlan
from aha.actors.workload import Demand
from aha.objectives.supervised import next_token_loss
from aha.policy.config import DenseConfig, ModelType
from aha.problems.world.corpus import documents, vocabulary
from aha.prompts.templates import R1_ZERO, r1_zero
from aha.prompts.tokenizer import Tokenizer, build_tokenizer
from aha.runs.seeds import derive_seed, generator
from aha.stages.config import PretrainConfig
from aha.stages.run import Run, stage_key
from aha.stages.updates import begin_updates, make_updates
from aha.training.batch import stack
from aha.training.cost import num_stream_tokens
from aha.types import Batch, Checkpoint

__all__ = ["PRETRAIN_METRICS", "base_config", "base_tokenizer", "corpus_digest", "num_updates", "pretrain"]

PRETRAIN_METRICS = ("loss", "grad_norm", "learning_rate", "tokens", "trained_tokens", "flops", "seconds")
"""What is logged for every update of pretraining."""


@dataclass(slots=True, kw_only=True)
class _Corpus:
    """The corpus, a batch of documents for each update.

    Attributes:
        tokenizer: the world's tokenizer.
        config: phases and tokens of an update.
        seed: run seed.
    """

    tokenizer: Tokenizer
    config: PretrainConfig
    seed: int
    _preamble_T: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Find the tokens with which every templated document begins."""
        self._preamble_T = self.tokenizer.encode(R1_ZERO.split("{question}")[0])

    def batch(self, step: int) -> Batch:
        """The documents of one update, whatever updates were asked for before: each has a seed of its own."""
        is_drill_phase = step * self.config.batch_tokens < self.config.drill_tokens
        phase = "drills" if is_drill_phase else "problems"

        prompts: list[Tensor] = []
        responses: list[Tensor] = []
        num_learned = 0
        for tokens_T in self._documents(phase, step):
            # As a prompt, the part from which nothing is learned is computed once for all documents that share it.
            start = self._num_constant(tokens_T)
            prompts.append(tokens_T[:start])
            responses.append(tokens_T[start:])

            # Whole documents: the last one may end a little above the number of tokens that was asked for.
            num_learned += len(tokens_T) - start
            if num_learned >= self.config.batch_tokens:
                break

        return stack(prompts, responses)

    def _num_constant(self, tokens_T: Tensor) -> int:
        """Tokens of a document from which nothing is learned: the preamble of the template, or else the first token.

        The first token has nothing before it from which it could be predicted.
        """
        num_preamble = len(self._preamble_T)
        beginning_T = tokens_T[:num_preamble]

        # Longer, not as long: of a document that ends with the preamble nothing would be left to learn.
        is_templated = len(tokens_T) > num_preamble and torch.equal(beginning_T, self._preamble_T)
        return num_preamble if is_templated else 1

    def _documents(self, phase: str, step: int) -> Iterator[Tensor]:
        """Endless documents of a phase as tokens; each update draws from a generator of its own."""
        end = torch.tensor([self.tokenizer.end_id])
        rng = generator(self.seed, "documents", phase, step)
        for document in documents(rng, phase, r1_zero):
            yield torch.cat((self.tokenizer.encode(document.text), end))


def base_config(config: PretrainConfig, vocab_size: int, model_type: ModelType = "qwen3") -> DenseConfig:
    """Shape of the base model: that of its family, scaled down; heads of 32, two query heads to a key head."""
    num_heads = max(1, config.hidden_size // 32)
    return DenseConfig(
        model_type=model_type,
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=2 * config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=max(1, num_heads // 2),
        head_dim=32,
    )


def base_tokenizer() -> Tokenizer:
    """The tokenizer of the built-in models: the words of the built-in world and those of R1-Zero's template."""
    return build_tokenizer(vocabulary(), [R1_ZERO])


def pretrain(run: Run, name: str, *, config: PretrainConfig, model_type: ModelType = "qwen3") -> Checkpoint:
    """Train a base model from scratch.

    Args:
        run: the run.
        name: of this stage.
        config: size, phases and optimizer.
        model_type: family of its architecture.

    Returns:
        The base model.

    Raises:
        Interrupted: the run was asked to stop; it has saved.
    """
    settings = config.model_dump(exclude={"checkpoint_every"})
    inputs = {"config": settings, "family": model_type, "corpus": vocabulary(), "seed": run.seed}
    key = stage_key(name, **inputs, processes=run.num_processes)
    if done := run.finished(name, key):
        return done

    resumed = run.resume(name, key)
    tokenizer = base_tokenizer()
    corpus = _Corpus(tokenizer=tokenizer, config=config, seed=run.seed)
    total_steps = num_updates(config)

    plan = TrainingPlan(
        name=name,
        optimizer=config.optimizer,
        num_steps=total_steps,
        demand=Demand(sequence_tokens=config.batch_tokens),
        seed=derive_seed(run.seed, "initialise"),
    )
    shape = base_config(config, tokenizer.vocab_size, model_type)
    actor = run.actors.new_policy(shape, tokenizer, resumed.folder if resumed else None, plan)

    def update(step: int) -> dict[str, float]:
        batch = corpus.batch(step)
        share = actor.share(batch)
        metrics = actor.update(share, next_token_loss, name=f"stage {name!r}, update {step}")

        # The cost is that of all processes: of the whole batch, not of the share.
        return metrics | actor.training_cost(num_stream_tokens(batch))

    steps = range(begin_updates(actor, resumed), total_steps)
    saved = make_updates(run, name, key, actor, update, steps=steps, checkpoint_every=config.checkpoint_every)
    return run.finish(name, key, saved, parents=())


def corpus_digest(config: PretrainConfig, seed: int) -> str:
    """SHA-256 of the token ids of the whole corpus, in the order in which it was read."""
    corpus = _Corpus(tokenizer=base_tokenizer(), config=config, seed=seed)
    digest = hashlib.sha256()
    for step in range(num_updates(config)):
        tokens_BT = corpus.batch(step).tokens_BT
        digest.update(tokens_BT.numpy().tobytes())
    return digest.hexdigest()


def num_updates(config: PretrainConfig) -> int:
    """Updates of the whole pretraining; the last one may end behind the last token."""
    num_tokens = config.drill_tokens + config.problem_tokens
    return math.ceil(num_tokens / config.batch_tokens)
