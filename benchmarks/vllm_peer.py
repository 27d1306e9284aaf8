"""A peer: the responses of the unit of work sampled by vLLM for CPUs, in an environment of its own (see README.md).

`python benchmarks/vllm_peer.py MODELS a varying` prints one line of JSON, as `aha_side.py --parts generate` does. The
engine runs in this process. A request ends where its `max_tokens` says, whatever it samples; no log-probabilities are
asked for.
"""

import argparse
import os

SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def measure(given: argparse.Namespace) -> str:
    """Sample some times; the line that describes them."""
    os.environ.update(SETTINGS | {"OMP_NUM_THREADS": str(given.threads)})
    from transformers import PreTrainedTokenizerFast
    from vllm import LLM, SamplingParams, TokensPrompt
    from workload import (
        GROUP_SIZE,
        MAX_NEW_TOKENS,
        PROMPT_TOKENS,
        Clock,
        Unit,
        check_lengths,
        memory_mib,
        read_prompts,
        result_line,
    )

    libraries = memory_mib("VmRSS")
    folder, lengths = given.models / given.name, Unit(kind=given.lengths).lengths_B.tolist()
    # As the other peers read it: vLLM would take Qwen2's own tokenizer, which splits these texts otherwise.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokens = tokenizer(read_prompts(given.models), add_special_tokens=False)["input_ids"]
    prompts = [TokensPrompt(prompt_token_ids=one) for one in tokens for _ in range(GROUP_SIZE)]
    wanted = [SamplingParams(temperature=1.0, ignore_eos=True, max_tokens=length) for length in lengths]
    engine = LLM(str(folder), dtype="float32", max_model_len=PROMPT_TOKENS + MAX_NEW_TOKENS)
    steps = []
    for _ in range(given.steps):
        clock = Clock()
        answers = engine.generate(prompts, wanted, use_tqdm=False)
        clock.lap("generate")
        check_lengths([len(answer.outputs[0].token_ids) for answer in answers], lengths)
        steps.append(clock.laps)
    return result_line("vllm", given, steps, libraries)


def main() -> None:
    """Read the arguments and print the result."""
    from workload import side_parser

    print(measure(side_parser(__doc__).parse_args()), flush=True)


if __name__ == "__main__":
    main()
