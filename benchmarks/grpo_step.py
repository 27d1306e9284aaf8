"""One GRPO step of aha: sample, score with a reference, update. Alone, or in turn with TRL's.

    python benchmarks/grpo_step.py MODELS a varying
    python benchmarks/grpo_step.py MODELS a c both --peer peers/bin/python --pairs 3 --json step.json
    python benchmarks/grpo_step.py MODELS a varying --peer peers/bin/python --no-reference --threads 2
    python benchmarks/grpo_step.py MODELS a varying --peer peers/bin/python --kernels avx512 avx2 off

All sides run in processes of their own, A B A B; a line for each run, and one that compares them.
"""

from comparison import Side, add_bounds, compare_times, our_side, parser


def main() -> None:
    """Read the arguments, measure, print."""
    arguments = parser(__doc__)
    add_bounds(arguments)
    arguments.add_argument("--no-reference", action="store_true", help="KL coefficient 0, and no reference model")
    arguments.add_argument(
        "--kernels",
        nargs="+",
        default=[""],
        help="instruction sets of aha's kernels, each a side; the first is compared with the others",
    )
    given = arguments.parse_args()
    options = ("--no-reference",) if given.no_reference else ()
    sides = [our_side(*options, max_tokens=given.max_tokens, kernels=name) for name in given.kernels]
    if given.peer:
        sides.append(Side("TRL", given.peer, "trl_peer.py", (*options, "--rows", str(given.peer_rows))))
    if given.no_reference:
        compare_times(given, "step without reference", sides, ("generate", "train"))
    else:
        compare_times(given, "step", sides)


if __name__ == "__main__":
    main()
