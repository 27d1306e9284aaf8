"""The learning half of a GRPO step, the reference's log-probabilities and the update, alone or in turn with TRL's.

    python benchmarks/learn.py MODELS a varying
    python benchmarks/learn.py MODELS a c both --peer peers/bin/python --pairs 3 --json learn.json

Nothing is sampled: both sides learn from the same random responses, so the peak memory is that of learning.
"""

from comparison import Side, add_bounds, compare_times, our_side, parser


def main() -> None:
    """Read the arguments, measure, print."""
    arguments = parser(__doc__)
    add_bounds(arguments)
    given = arguments.parse_args()
    sides = [our_side("--parts", "learn", max_tokens=given.max_tokens)]
    if given.peer:
        options = ("--parts", "learn", "--rows", str(given.peer_rows))
        sides.append(Side("TRL", given.peer, "trl_peer.py", options))
    compare_times(given, "learn", sides)


if __name__ == "__main__":
    main()
