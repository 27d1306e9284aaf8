"""A peer: the unit of work done by TRL's GRPOTrainer, in the peers' environment (see README.md).

`python benchmarks/trl_peer.py MODELS a varying` prints one line of JSON, as `aha_side.py` does. TRL decodes with
transformers (no vLLM), computes a reference, and makes one AdamW update from all 128 completions.

The parts are told apart by what is public: `generate` is the time inside `model.generate`; `train` begins at the first
call of `compute_loss` of a step; `reference` is what lies between, rewards and advantages included.
"""

import argparse
import os
import tempfile
from typing import Any

import torch
import transformers
from datasets import Dataset
from generate_peer import stops
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.trainer_callback import TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from workload import (
    CLIP_EPS,
    END_ID,
    GROUP_SIZE,
    KL_COEF,
    LEARNING_RATE,
    MAX_NEW_TOKENS,
    NUM_PROMPTS,
    PAD_ID,
    Clock,
    Unit,
    check_lengths,
    memory_mib,
    read_prompts,
    result_line,
    side_parser,
)


class Stopwatch(TrainerCallback):
    """Seconds of each step's parts."""

    def __init__(self) -> None:
        """Begin with no steps."""
        self.steps: list[dict[str, float]] = []
        self._clock, self._is_training = Clock(), False

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start a step."""
        self._clock, self._is_training = Clock(), False

    def generation_begins(self) -> None:
        """What was before it belongs to no other part."""
        self._clock.lap("reference")

    def generation_ends(self) -> None:
        """Count time in `model.generate`."""
        self._clock.lap("generate")

    def train_begins(self) -> None:
        """Note the first loss of a step."""
        if not self._is_training:
            self._clock.lap("reference")
        self._is_training = True

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Close a step."""
        if not self._is_training:
            raise RuntimeError("a step ended without a loss")
        self._clock.lap("train")
        self.steps.append(self._clock.laps)


class TimedTrainer(GRPOTrainer):
    """GRPOTrainer that says when its first loss of a step begins."""

    stopwatch: Stopwatch

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The loss, unchanged."""
        self.stopwatch.train_begins()
        return super().compute_loss(*args, **kwargs)


def time_generation(model: Any, stopwatch: Stopwatch, unit: Unit) -> None:
    """Have `model.generate` timed, and its rows end at their lengths."""
    plain = model.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        stopwatch.generation_begins()
        ends = stops(unit, kwargs["input_ids"].shape[1])
        out = plain(*args, **kwargs, **({"logits_processor": ends} if ends else {}))
        stopwatch.generation_ends()
        return out

    model.generate = generate


def replace_generation(model: Any, unit: Unit) -> None:
    """Have `model.generate` return random responses, where only learning is measured."""
    rows = [torch.from_numpy(row) for row in unit.responses()]
    responses_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD_ID)

    def generate(*args: Any, **kwargs: Any) -> torch.Tensor:
        return torch.cat((kwargs["input_ids"], responses_BT), dim=1)

    model.generate = generate


def configuration(folder: str, given: argparse.Namespace) -> GRPOConfig:
    """The unit of work in TRL's words."""
    return GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=given.rows,
        gradient_accumulation_steps=NUM_PROMPTS * GROUP_SIZE // given.rows,
        num_generations=GROUP_SIZE,
        max_completion_length=MAX_NEW_TOKENS,
        generation_kwargs={"suppress_tokens": [END_ID]},
        temperature=1.0,
        beta=0.0 if given.no_reference else KL_COEF,
        epsilon=CLIP_EPS,
        loss_type="grpo",
        num_iterations=1,
        max_steps=given.steps,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        gradient_checkpointing=False,
        bf16=False,
        fp16=False,
        use_cpu=True,
        shuffle_dataset=False,
        seed=0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def measure(given: argparse.Namespace) -> str:
    """Train for some steps; the line that describes them."""
    torch.set_num_threads(given.threads)
    libraries = memory_mib("VmRSS")
    folder, unit = given.models / given.name, Unit(kind=given.lengths)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    stopwatch = Stopwatch()
    if given.parts == "step":
        time_generation(model, stopwatch, unit)
    else:
        replace_generation(model, unit)
    lengths: list[int] = []

    def distinct(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        lengths.extend(len(tokens) for tokens in completion_ids)
        return [len(set(tokens)) / 100 for tokens in completion_ids]

    with tempfile.TemporaryDirectory() as aside:
        trainer = TimedTrainer(
            model=model,
            reward_funcs=distinct,
            args=configuration(aside, given),
            train_dataset=Dataset.from_dict({"prompt": read_prompts(given.models) * given.steps}),
            processing_class=PreTrainedTokenizerFast.from_pretrained(folder),
            callbacks=[stopwatch],
        )
        trainer.stopwatch = stopwatch
        trainer.train()
    check_lengths(lengths, given.steps * unit.lengths_B.tolist())
    return result_line(f"trl.GRPOTrainer, {given.rows} rows at once", given, stopwatch.steps, libraries)


def main() -> None:
    """Read the arguments and print the result."""
    parser = side_parser(__doc__)
    parser.add_argument("--parts", choices=["step", "learn"], default="step", help="what is done")
    parser.add_argument("--no-reference", action="store_true", help="KL coefficient 0 and no reference model")
    parser.add_argument("--rows", type=int, default=Unit("fixed").num_rows, help="of a forward and backward pass")
    given = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.logging.set_verbosity_error()
    print(measure(given), flush=True)


if __name__ == "__main__":
    main()
