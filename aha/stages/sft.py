"""Supervised fine-tuning: learn to write given responses.

Sequences are packed into chunks of a fixed length by best fit, and in a chunk none sees another; the loss counts on
the responses alone.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.4.2 (two epochs, a cosine to a tenth, batches of 64, 32,768 tokens) and B.1
(best-fit packing); sample masking as in DeepSeek-V3, arXiv:2412.19437v2, 5.1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from aha.actors.local_actors import TrainingPlan
from aha.actors.workload import Demand
from aha.objectives.supervised import next_token_loss
from aha.policy.pretrained import read_config
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.templates import Template, continuation, r1
from aha.prompts.tokenizer import Tokenizer
from aha.runs.seeds import derive_seed, generator
from aha.runs.shards import read_rows
from aha.stages.config import SupervisedConfig
from aha.stages.run import Run, stage_key
from aha.stages.updates import begin_updates, make_updates
from aha.training.batch import stack
from aha.training.packing import best_fit
from aha.types import Batch, Checkpoint, Dataset, Demonstration

__all__ = ["SFT_METRICS", "demonstrations", "sft"]

SFT_METRICS = ("loss", "grad_norm", "learning_rate", "tokens", "trained_tokens", "flops", "seconds")
"""What is logged for every update of fine-tuning."""

Example = tuple[Tensor, Tensor]
"""Prompt [T0] and response [T], tokens."""


def sft(
    run: Run,
    name: str,
    *,
    policy: Checkpoint,
    data: Sequence[Dataset],
    config: SupervisedConfig,
    template: Template = r1,
) -> Checkpoint:
    """Fine-tune a policy on demonstrations.

    Args:
        run: the run.
        name: of this stage.
        policy: where it starts.
        data: the demonstrations, all sets together.
        config: epochs, chunks and optimizer.
        template: the prompt around a question, which the checkpoint names.

    Returns:
        The fine-tuned policy.

    Raises:
        ValueError: no demonstration fits into a chunk, or the vocabulary lacks a token of the template.
        Interrupted: the run was asked to stop; it has saved.
    """
    sources = [policy.key, *(part.key for part in data)]
    settings = config.model_dump(exclude={"checkpoint_every"})
    key = stage_key(
        name,
        sources=sources,
        config=settings,
        template=template(""),
        seed=run.seed,
        processes=run.num_processes,
    )
    if done := run.finished(name, key):
        return done

    resumed = run.resume(name, key)
    shape = read_config(policy.path)
    tokenizer = read_tokenizer(policy.path, room=shape.vocab_size).trained_with(template)

    # A checkpoint does not hold what is left to learn: a resumed run makes it again, from data and seed.
    max_tokens = min(config.max_tokens, shape.max_position_embeddings)
    examples = _examples(run, name, data, template, tokenizer, max_tokens)
    updates = _chunks_by_update(run, name, config, examples)

    plan = TrainingPlan(
        name=name,
        optimizer=config.optimizer,
        num_steps=len(updates),
        demand=Demand(sequence_tokens=config.max_tokens, micro_batch_tokens=config.max_tokens),
        seed=derive_seed(run.seed, name, "adapters"),
    )
    actor = run.actors.trained_policy(policy.path, resumed.folder if resumed else None, plan)

    # Its checkpoints name the template that it learns, not the one that it started with.
    actor.tokenizer = tokenizer

    def update(step: int) -> dict[str, float]:
        # A chunk is a micro-batch, so that packing decides what is computed together; a process takes every n-th one.
        share = actor.share_items(updates[step])
        micro_batches = [_batch([examples[index] for index in chunk]) for chunk in share]
        return actor.update_on(micro_batches, next_token_loss, name=f"stage {name!r}, update {step}")

    steps = range(begin_updates(actor, resumed), len(updates))
    saved = make_updates(run, name, key, actor, update, steps=steps, checkpoint_every=config.checkpoint_every)
    return run.finish(name, key, saved, parents=tuple(sources))


def demonstrations(data: Sequence[Dataset]) -> list[Demonstration]:
    """All rows of some sets, in order."""
    names = Demonstration.__dataclass_fields__
    rows = [row for part in data for row in read_rows(part.path)]
    return [Demonstration(**{name: row[name] for name in names}) for row in rows]


def _examples(
    run: Run, name: str, data: Sequence[Dataset], template: Template, tokenizer: Tokenizer, capacity: int
) -> list[Example]:
    """The demonstrations as tokens, those that fit into a chunk and into the positions."""
    if unknown := tokenizer.unknown_words(template("")):
        raise ValueError(f"stage {name!r}: the tokenizer has no token for {', '.join(unknown)} of the template")

    rows = demonstrations(data)
    if not rows:
        raise ValueError(
            f"stage {name!r} has nothing to learn from: no response was kept for it; the run says above why they were "
            "dropped (cut ones ask for a higher max-new-tokens of the sampling)"
        )
    prompt_texts = [template(row.question) for row in rows]
    prompts = tokenizer.encode_prompts(prompt_texts)

    # Where the prompt opens the thinking, the response goes on from there.
    response_texts = [continuation(prompt, row.response) for prompt, row in zip(prompt_texts, rows, strict=True)]
    responses = tokenizer.encode_all(response_texts)

    examples = []
    for prompt, response in zip(prompts, responses, strict=True):
        # The end token is learned like any other: without it the policy would never stop.
        ended_response = [*response, tokenizer.end_id]

        # One that is too long is left out whole: cut, it would have lost its answer.
        if len(prompt) + len(ended_response) <= capacity:
            examples.append((torch.tensor(prompt), torch.tensor(ended_response)))

    num_too_long = len(rows) - len(examples)
    if num_too_long:
        run.say(f"{name}: {num_too_long} of {len(rows)} demonstrations are longer than {capacity} tokens")
    if not examples:
        raise ValueError(f"stage {name!r} has no demonstration of at most {capacity} tokens to learn from")
    return examples


def _chunks_by_update(
    run: Run, name: str, config: SupervisedConfig, examples: Sequence[Example]
) -> list[list[list[int]]]:
    """The chunks of every update, as indices of examples; an epoch packs the examples in an order of its own."""
    num_tokens = [len(prompt) + len(response) for prompt, response in examples]
    updates: list[list[list[int]]] = []
    for epoch in range(config.epochs):
        rng = generator(run.seed, name, "order", epoch)
        order = rng.sample(range(len(examples)), len(examples))
        lengths = [num_tokens[index] for index in order]
        packed = best_fit(lengths, config.max_tokens)
        chunks = [[order[position] for position in chunk] for chunk in packed]

        # Best fit puts the longest examples into the first chunks; the updates of an epoch should be alike.
        rng.shuffle(chunks)

        # The last update of an epoch has fewer chunks: no update mixes two epochs.
        for start in range(0, len(chunks), config.batch_size):
            updates.append(chunks[start : start + config.batch_size])
    return updates


def _batch(examples: Sequence[Example]) -> Batch:
    """The examples of a chunk."""
    prompts = [prompt for prompt, _ in examples]
    responses = [response for _, response in examples]
    return stack(prompts, responses)
