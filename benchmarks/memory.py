"""Peak memory of learning from one batch, in fresh processes: beside TRL's, and how it grows with the vocabulary.

    python benchmarks/memory.py MODELS a c varying
    python benchmarks/memory.py MODELS a c varying --peer peers/bin/python --json memory.json

Each process makes two steps of the learning half, since the optimizer has no moments during the first. The peer runs
with all responses in one pass, its default, and with passes of 16.

For the vocabulary, the models are random, of Qwen2's family (width 256, 2 layers), without a reference, and responses
have 32 tokens. What a step needs is its peak above the libraries and above weights, gradients and both moments; it
must not grow by more than one chunk of logits with its products, 64 MiB.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from aha_side import random_config
from ceiling import shape_only
from comparison import Report, Side, Work, cases, in_turn, medians, our_side, parser, works

from aha.policy.scoring import chunk_tokens

MIB = 1 << 20
WIDTH, LAYERS = 256, 2
BYTES_HELD = 4 * 4
"""Of a parameter: weight, gradient and two moments."""

ALLOWED_MIB = 64
"""One chunk of logits, with the memory of the products that make it and are made of it."""

PEER_ROWS = {"TRL": 128, "TRL, passes of 16": 16}


def chunk_mib(vocabulary: int) -> float:
    """The logits that exist at once."""
    return chunk_tokens(vocabulary, is_on_cpu=True) * vocabulary * 4 / MIB


def needed_mib(models: Path, name: str, vocabulary: int, num_runs: int) -> float:
    """What a step of a random model needs above all that is held anyway; the tokenizer is the named model's."""
    shape = ("--width", str(WIDTH), "--layers", str(LAYERS), "--vocabulary", str(vocabulary))
    side = our_side("--parts", "learn", "--no-reference", "--cap", "32", *shape)
    found = medians(in_turn([side], Work(models, name, "fixed", threads=1, steps=2), num_runs)[0])
    policy = shape_only(random_config(WIDTH, LAYERS, vocabulary))
    held = sum(weight.numel() for weight in policy.parameters()) * BYTES_HELD / MIB
    return found["peak_mib"] - found["libraries_mib"] - held


def vocabulary_case(given: argparse.Namespace) -> dict[str, Any]:
    """How much more a step needs for a large vocabulary, beside what it may."""
    small, large = given.vocabularies
    needs = [needed_mib(given.models, given.names[0], count, given.pairs) for count in (small, large)]
    figures = {
        f"needed_mib_{small}": needs[0],
        f"needed_mib_{large}": needs[1],
        "growth_mib": needs[1] - needs[0],
        "chunk_mib": chunk_mib(large),
        "allowed_mib": ALLOWED_MIB,
    }
    return {
        "name": f"vocabulary {small} to {large}",
        "compared": "growth_mib",
        "ours": {name: round(value, 1) for name, value in figures.items()},
        "peer": None,
        "ratio": None,
        "floor_share": {},
        "is_within_a_chunk": figures["growth_mib"] <= ALLOWED_MIB,
    }


def main() -> None:
    """Read the arguments, measure, print."""
    arguments = parser(__doc__)
    arguments.add_argument("--vocabularies", type=int, nargs=2, default=[512, 151936], help="the small and the large")
    arguments.set_defaults(steps=2, pairs=1)
    given = arguments.parse_args()
    report = Report(given.json)
    sides = [our_side("--parts", "learn")]
    for name, rows in PEER_ROWS.items() if given.peer else ():
        sides.append(Side(name, given.peer, "trl_peer.py", ("--parts", "learn", "--rows", str(rows))))
    for work in works(given):
        title = f"memory {work.name} {work.lengths}"
        for found in cases(title, sides, in_turn(sides, work, given.pairs), "peak_mib"):
            report.add(found)
    report.add(vocabulary_case(given))
    print(json.dumps(report.cases[-1]))


if __name__ == "__main__":
    main()
