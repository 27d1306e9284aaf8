"""The peer: the unit of work done by TRL's GRPOTrainer, in the peers' environment (see README.md).

`python benchmarks/trl_peer.py MODELS a varying` prints one line of JSON, as `grpo_step.py` does for aha. TRL decodes
with transformers (no vLLM), computes a reference, and makes one AdamW update from all 128 completions.

The parts are told apart by what is public: `generate` is the time inside `model.generate`; `train` begins at the first
call of `compute_loss` of a step; `reference` is what lies between, rewards and advantages included.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerFast
from transformers.trainer_callback import TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from workload import (
    CLIP_EPS,
    END_ID,
    GROUP_SIZE,
    KL_COEF,
    LEARNING_RATE,
    MAX_NEW_TOKENS,
    NUM_ROWS,
    read_prompts,
    response_lengths,
    result_line,
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


class Stopwatch(TrainerCallback):
    """CPU seconds of each step's parts, and the responses' lengths."""

    def __init__(self) -> None:
        """Begin with no steps."""
        self.steps: list[dict[str, float]] = []
        self.lengths: list[int] = []
        self._started = self._generating = 0.0
        self._train_started: float | None = None

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start a step."""
        self._started, self._generating, self._train_started = time.process_time(), 0.0, None

    def generated(self, seconds: float) -> None:
        """Count time in `model.generate`."""
        self._generating += seconds

    def train_begins(self) -> None:
        """Note the first loss of a step."""
        if self._train_started is None:
            self._train_started = time.process_time()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Close a step."""
        if self._train_started is None:
            raise RuntimeError("a step ended without a loss")
        self.steps.append(
            {
                "generate": self._generating,
                "reference": self._train_started - self._started - self._generating,
                "train": time.process_time() - self._train_started,
            }
        )


class TimedTrainer(GRPOTrainer):
    """GRPOTrainer that says when its first loss of a step begins."""

    stopwatch: Stopwatch

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The loss, unchanged."""
        self.stopwatch.train_begins()
        return super().compute_loss(*args, **kwargs)


def time_generation(model: Any, stopwatch: Stopwatch, kind: str) -> None:
    """Have `model.generate` timed, and its rows end at their lengths."""
    plain = model.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        started = time.process_time()
        if kind == "varying":
            stops = EndAtLength(torch.from_numpy(response_lengths(kind)), kwargs["input_ids"].shape[1])
            kwargs["logits_processor"] = LogitsProcessorList([stops])
        out = plain(*args, **kwargs)
        stopwatch.generated(time.process_time() - started)
        return out

    model.generate = generate


def configuration(folder: str, steps: int, rows: int) -> GRPOConfig:
    """The unit of work in TRL's words."""
    return GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=NUM_ROWS // rows,
        num_generations=GROUP_SIZE,
        max_completion_length=MAX_NEW_TOKENS,
        generation_kwargs={"suppress_tokens": [END_ID]},
        temperature=1.0,
        beta=KL_COEF,
        epsilon=CLIP_EPS,
        loss_type="grpo",
        num_iterations=1,
        max_steps=steps,
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


def measure(models: Path, name: str, kind: str, steps: int, rows: int) -> str:
    """Train for some steps; the line that describes them."""
    torch.set_num_threads(1)
    prompts = read_prompts(models)
    model = AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32)
    stopwatch = Stopwatch()
    time_generation(model, stopwatch, kind)

    def distinct(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        stopwatch.lengths.extend(len(tokens) for tokens in completion_ids)
        return [len(set(tokens)) / 100 for tokens in completion_ids]

    with tempfile.TemporaryDirectory() as folder:
        trainer = TimedTrainer(
            model=model,
            reward_funcs=distinct,
            args=configuration(folder, steps, rows),
            train_dataset=Dataset.from_dict({"prompt": prompts * steps}),
            processing_class=PreTrainedTokenizerFast.from_pretrained(models / name),
            callbacks=[stopwatch],
        )
        trainer.stopwatch = stopwatch
        trainer.train()
    if stopwatch.lengths != steps * response_lengths(kind).tolist():
        raise RuntimeError("the responses do not have the lengths that were asked for")
    return result_line(f"trl.GRPOTrainer, {rows} rows at once", name, kind, stopwatch.steps)


def main() -> None:
    """Read the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="folder written by models.py")
    parser.add_argument("name", choices=["a", "b", "c"], help="model")
    parser.add_argument("lengths", choices=["fixed", "varying"], help="lengths of the responses")
    parser.add_argument("--steps", type=int, default=4, help="steps, the first of which only warms up")
    parser.add_argument("--rows", type=int, default=NUM_ROWS, help="rows of a forward and backward pass")
    args = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.logging.set_verbosity_error()
    print(measure(args.models, args.name, args.lengths, args.steps, args.rows), flush=True)


if __name__ == "__main__":
    main()
