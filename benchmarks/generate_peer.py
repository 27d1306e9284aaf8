"""A peer: the responses of the unit of work sampled by transformers' `generate`, in the peers' environment.

`python benchmarks/generate_peer.py MODELS a varying` prints one line of JSON, as `aha_side.py --parts generate` does.
"""

import os
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
)
from workload import (
    END_ID,
    GROUP_SIZE,
    MAX_NEW_TOKENS,
    PAD_ID,
    Clock,
    Unit,
    check_lengths,
    memory_mib,
    read_prompts,
    result_line,
    side_parser,
)


class EndAtLength(LogitsProcessor):
    """Lets each row end at its own length; before it, the end token is suppressed by `suppress_tokens`."""

    def __init__(self, lengths: torch.Tensor, prompt_width: int) -> None:
        """Take the lengths, [B], and the width of the padded prompts."""
        self._stops = lengths + prompt_width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave nothing but the end token to the rows whose last token this is."""
        is_last = self._stops <= input_ids.shape[1] + 1
        scores[is_last] = -torch.inf
        scores[is_last, END_ID] = 0.0
        return scores


def stops(unit: Unit, prompt_width: int) -> LogitsProcessorList | None:
    """What ends the rows of the unit of work, for `generate`; nothing where all run to the cap."""
    if unit.kind == "fixed":
        return None
    return LogitsProcessorList([EndAtLength(torch.from_numpy(unit.lengths_B), prompt_width)])


class Sampler:
    """A model, its prompts, and how they are sampled."""

    def __init__(self, folder: Path, prompts: list[str], unit: Unit) -> None:
        """Read the model."""
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        repeated = [prompt for prompt in prompts for _ in range(GROUP_SIZE)]
        given = tokenizer(repeated, return_tensors="pt", add_special_tokens=False)
        self._inputs = {name: given[name] for name in ("input_ids", "attention_mask")}
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._unit, self._config = (
            unit,
            GenerationConfig(
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                suppress_tokens=[END_ID],
                eos_token_id=END_ID,
                pad_token_id=PAD_ID,
            ),
        )

    @torch.inference_mode()
    def step(self) -> dict[str, float]:
        """Sample once: its seconds."""
        width, clock = self._inputs["input_ids"].shape[1], Clock()
        sampled = self._model.generate(
            **self._inputs, generation_config=self._config, logits_processor=stops(self._unit, width)
        )
        clock.lap("generate")
        is_end_BT = sampled[:, width:] == END_ID
        lengths_B = torch.where(is_end_BT.any(-1), is_end_BT.int().argmax(-1) + 1, is_end_BT.shape[1])
        check_lengths(lengths_B.tolist(), self._unit.lengths_B.tolist())
        return clock.laps


def main() -> None:
    """Read the arguments and print the result."""
    given = side_parser(__doc__).parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(given.threads)
    libraries = memory_mib("VmRSS")
    sampler = Sampler(given.models / given.name, read_prompts(given.models), Unit(kind=given.lengths))
    steps = [sampler.step() for _ in range(given.steps)]
    print(result_line("transformers.generate", given, steps, libraries), flush=True)


if __name__ == "__main__":
    main()
