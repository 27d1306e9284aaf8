"""Fine-tuning in its plainest form, beside DeepSeek-R1, arXiv:2501.12948v2, B.4.2 and B.1.

Demonstrations are packed into chunks by best fit, anew in each epoch, and a batch of chunks makes one update.

    L = -1/N sum_i sum_t log pi(o_it | q_i, o_i,<t),  N = number of response tokens of the batch

In a chunk no sequence sees another, so each is computed alone here.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forms.plain_draws import seed_of
from forms.plain_policy import num_matrix_parameters, read_config, read_weights, response_logp
from forms.plain_update import PlainAdamW
from tokenizers import Tokenizer

Example = tuple[list[int], list[int]]


def read_examples(folder: Path, demonstrations: Sequence[Mapping[str, str]]) -> list[Example]:
    """Prompts in R1's template, and responses that end with the end token, as token ids."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id("<eos>")
    return [
        (
            tokenizer.encode(f"<｜User｜>{one['question']}<｜Assistant｜>").ids,
            [*tokenizer.encode(one["response"]).ids, end],
        )
        for one in demonstrations
    ]


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best fit decreasing: the longest first, each into the fullest chunk that still takes it."""
    chunks: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        used = [sum(lengths[one] for one in chunk) for chunk in chunks]
        fitting = [number for number in range(len(chunks)) if used[number] + lengths[index] <= capacity]
        if fitting:
            chunks[max(fitting, key=lambda number: (used[number], -number))].append(index)
        else:
            chunks.append([index])
    return chunks


Chunk = list[Example]


def batches(examples: Sequence[Example], settings: Mapping[str, Any], seed: int, stage: str) -> Iterator[list[Chunk]]:
    """The chunks of each update."""
    for epoch in range(settings["epochs"]):
        rng = random.Random(seed_of(seed, stage, "order", epoch))
        order = rng.sample(range(len(examples)), len(examples))
        chunks = pack([sum(map(len, examples[index])) for index in order], settings["max_tokens"])
        rng.shuffle(chunks)
        filled = [[examples[order[place]] for place in chunk] for chunk in chunks]
        for start in range(0, len(filled), settings["batch_size"]):
            yield filled[start : start + settings["batch_size"]]


def num_computed(chunk: Chunk) -> int:
    """Tokens that are computed for a chunk: an equal prompt of several examples is computed once."""
    prompts = {tuple(prompt) for prompt, _ in chunk}
    return sum(map(len, prompts)) + sum(len(response) for _, response in chunk)


def plain_sft(
    folder: Path, demonstrations: Sequence[Mapping[str, str]], settings: Mapping[str, Any], *, seed: int, stage: str
) -> Iterator[tuple[PlainAdamW, dict[str, float]]]:
    """After each update: the state of training, and what is logged."""
    config, start = read_config(folder), read_weights(folder)
    updates = list(batches(read_examples(folder, demonstrations), settings, seed, stage))
    training = PlainAdamW(start, settings["optimizer"], len(updates))

    for chunks in updates:
        examples = [example for chunk in chunks for example in chunk]
        count = sum(len(response) for _, response in examples)
        total = sum(response_logp(training.weights, config, *example).sum() for example in examples)
        metrics = training.update(-total / count)
        num_tokens = sum(map(num_computed, chunks))
        flops = 6.0 * num_matrix_parameters(start) * num_tokens
        yield training, {**metrics, "tokens": 0.0, "trained_tokens": num_tokens, "flops": flops}
