"""Sampling the responses of a GRPO step: `LocalEngine.sample` alone, or in turn with transformers and with vLLM.

python benchmarks/generate.py MODELS a varying
python benchmarks/generate.py MODELS a c both --peer peers/bin/python --vllm vllm/bin/python --json generate.json
"""

from comparison import Side, compare_times, our_side, parser


def main() -> None:
    """Read the arguments, measure, print."""
    arguments = parser(__doc__)
    arguments.add_argument("--vllm", help="Python of an environment with vLLM for CPUs, which also runs in turn")
    given = arguments.parse_args()
    sides = [our_side("--parts", "generate")]
    if given.peer:
        sides.append(Side("transformers", given.peer, "generate_peer.py"))
    if given.vllm:
        sides.append(Side("vLLM", given.vllm, "vllm_peer.py"))
    compare_times(given, "generate", sides)


if __name__ == "__main__":
    main()
