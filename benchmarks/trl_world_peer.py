"""The peer: the built-in world learned by TRL's GRPOTrainer, in the peers' environment (see README.md).

`python benchmarks/trl_world_peer.py SEED` prints one line of JSON, as `aha_world.py` does. Base model, problems and
their order, prompts, rewards, hyper-parameters and validation are aha's; sampling, log-probabilities, advantages, loss
and updates are TRL's, which decodes with transformers (no vLLM).
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from progress import Progress
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.trainer_callback import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from aha.actors.local import LocalPolicy
from aha.actors.workload import PROMPT_TOKENS
from aha.policy.pretrained import read_policy
from aha.policy.transformer import Transformer
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.prompts.templates import r1_zero
from aha.prompts.tokenizer import Tokenizer
from aha.recipes.base_model import BUILT_IN
from aha.recipes.scales import R1_ZERO_SCALES
from aha.rewards.table import RULES, score_all
from aha.stages.evaluate import sampling_of, solving
from aha.stages.groups import sample_groups
from aha.training.batch import stack
from aha.training.checkpoint import read_model
from aha.training.learner import log_probabilities
from aha.training.memory import decoded_rows
from aha.training.optimizer import learning_rate_factor
from aha.training.world import World
from aha.types import Problem, Rollout

SCALE = R1_ZERO_SCALES["tiny"]
RL = SCALE.zero
GRPO = RL.algorithm
LOSS_TOLERANCE, NORM_TOLERANCE = 1e-5, 1e-4
"""Largest differences of a checked loss: absolute, and of its gradient's norm, relative."""


class Scoring:
    """aha's rewards as TRL asks for them; remembers what the last responses were like."""

    def __init__(self, problems: Sequence[Problem], tokenizer: Tokenizer) -> None:
        """Take the training problems in order, and the tokenizer that makes text of responses."""
        self._problems, self._tokenizer = problems, tokenizer
        self.figures: dict[str, float] = {}
        self.__name__ = "rules"

    def __call__(self, completion_ids: list[list[int]], place: list[int], **kwargs: Any) -> list[float]:
        """The total reward of each response; `place` is a column of the dataset."""
        pairs = [
            (self._problems[at], self._rollout(self._problems[at], ids))
            for at, ids in zip(place, completion_ids, strict=True)
        ]
        rewards = score_all(RULES, pairs)
        self.figures = {
            "reward": fmean(reward.total for reward in rewards),
            "accuracy": fmean(reward.parts["accuracy"] for reward in rewards),
            "format": fmean(reward.parts["format"] for reward in rewards),
            "length": fmean(len(ids) for ids in completion_ids),
            "truncated": fmean(rollout.finish == "length" for _, rollout in pairs),
        }
        return [reward.total for reward in rewards]

    def _rollout(self, problem: Problem, ids: list[int]) -> Rollout:
        """A response as aha sees it: the end token counts among its tokens, and is left out of its text."""
        has_ended = ids[-1] in self._tokenizer.stop_ids
        if len(ids) > RL.max_new_tokens or not (has_ended or len(ids) == RL.max_new_tokens):
            raise RuntimeError(f"a response of {len(ids)} tokens that neither ends nor is cut at the cap")
        return Rollout(
            problem_id=problem.id,
            prompt_tokens=torch.empty(0),
            tokens=torch.tensor(ids),
            logp=torch.empty(0),
            text=self._tokenizer.decode(torch.tensor(ids[:-1] if has_ended else ids)),
            finish="stop" if has_ended else "length",
        )


class Watch(TrainerCallback):
    """Times the iterations, and has the policy validated by aha's engine between them, as aha's stage does."""

    def __init__(self, progress: Progress, scoring: Scoring, tokenizer: Tokenizer, args: argparse.Namespace) -> None:
        """Take what is written to, what figures come from, and the arguments of the run."""
        self._progress, self._scoring, self._tokenizer = progress, scoring, tokenizer
        self._seed, self._every = args.seed, args.evaluate_every
        self._problems = held_out_problems("validation", SCALE.validation.num_problems)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validate the base model."""
        self._progress.validated(self.validate(kwargs["model"], -1))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An iteration begins with the first of its steps."""
        if state.global_step % RL.num_minibatches == 0:
            self._progress.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An iteration ends with the last of its steps."""
        if state.global_step % RL.num_minibatches:
            return
        self._progress.end(self._scoring.figures)
        done = self._progress.num_iterations
        if done % self._every == 0:
            self._progress.validated(self.validate(kwargs["model"], done - 1))
        control.should_training_stop |= self._progress.is_over

    def validate(self, model: Any, iteration: int) -> float:
        """pass@1 on the validation problems: the draws are those of aha's stage at this iteration."""
        policy = read_from(model)
        num_rows = decoded_rows(policy.config, RL.max_new_tokens + PROMPT_TOKENS, size=4)
        groups = sample_groups(
            LocalPolicy(policy, self._tokenizer, World(), num_rows=num_rows),
            self._problems,
            sampling_of(SCALE.validation, (self._seed, "zero", iteration, "validation")),
            reward=RULES,
            template=r1_zero,
        )
        return fmean(solving(group)["pass@1"] for group in groups)


def read_from(model: Any) -> Transformer:
    """The policy that a model of transformers holds, as aha reads it from disk."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return read_policy(Path(folder))


class CheckedTrainer(GRPOTrainer):
    """GRPOTrainer whose every loss is compared with aha's, of the same responses and advantages."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss, unchanged.

        Raises:
            RuntimeError: loss or gradient differ.
        """
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        policy, parts = read_from(model), self.current_gradient_accumulation_steps
        same = aha_loss(policy, inputs) / parts
        norms = [
            float(torch.nn.utils.get_total_norm(torch.autograd.grad(one, list(of.parameters()), retain_graph=True)))
            for one, of in ((loss, model), (same, policy))
        ]
        rate = self.optimizer.param_groups[0]["lr"]
        print(f"loss {float(loss):.7f} {float(same):.7f}  norm {norms[0]:.6f} {norms[1]:.6f}  rate {rate:.3g}")
        if abs(float(loss - same)) > LOSS_TOLERANCE or abs(norms[0] / norms[1] - 1) > NORM_TOLERANCE:
            raise RuntimeError("TRL's loss or gradient is not aha's")
        return loss


def aha_loss(policy: Transformer, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Loss that aha makes of a mini-batch as TRL holds it: prompts padded on the left, responses on the right."""
    starts, stops = inputs["prompt_mask"].sum(1).tolist(), inputs["completion_mask"].sum(1).tolist()
    signals = {
        "old_logp_BT": inputs["old_per_token_logps"],
        "ref_logp_BT": inputs["ref_per_token_logps"],
        "adv_BT": inputs["advantages"][:, None].expand_as(inputs["completion_ids"]),
    }
    batch = stack(
        [row[len(row) - start :] for row, start in zip(inputs["prompt_ids"], starts, strict=True)],
        [row[:stop] for row, stop in zip(inputs["completion_ids"], stops, strict=True)],
        {name: [row[:stop] for row, stop in zip(rows, stops, strict=True)] for name, rows in signals.items()},
    )
    logp_BT = log_probabilities(policy, batch, temperature=RL.temperature)
    loss = GRPO.loss(logp_BT, mask_BT=batch.mask_BT, **batch.signals)
    return loss.total / loss.count


def configuration(folder: str, seed: int, rows: int) -> GRPOConfig:
    """R1-Zero's first stage at `tiny` in TRL's words.

    Args:
        folder: where TRL may write.
        seed: of TRL's draws.
        rows: responses of a forward and backward pass; gradients are summed over those of a mini-batch.
    """
    num_rows = RL.problems_per_iteration * RL.group_size
    return GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=num_rows // RL.num_minibatches // rows,
        steps_per_generation=num_rows // rows,
        num_generations=RL.group_size,
        num_iterations=1,
        max_steps=RL.iterations * RL.num_minibatches,
        max_completion_length=RL.max_new_tokens,
        mask_truncated_completions=False,
        temperature=RL.temperature,
        top_p=1.0,
        top_k=0,
        loss_type="grpo",
        scale_rewards="group",
        epsilon=GRPO.clip_eps,
        beta=GRPO.kl_coef,
        use_bias_correction_kl=False,
        sync_ref_model=True,
        ref_model_mixup_alpha=1.0,
        ref_model_sync_steps=RL.reference_every,
        max_grad_norm=RL.optimizer.grad_clip,
        gradient_checkpointing=False,
        bf16=False,
        fp16=False,
        use_cpu=True,
        shuffle_dataset=False,
        seed=seed,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def optimizer_of(model: torch.nn.Module) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """AdamW, fused as transformers has it by default, with aha's schedule."""
    config, total = RL.optimizer, RL.iterations * RL.num_minibatches
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    return optimizer, LambdaLR(optimizer, lambda step: learning_rate_factor(step, total, config))


def check_prompts(peer: PreTrainedTokenizerFast, tokenizer: Tokenizer, prompts: Sequence[str]) -> None:
    """Make sure that both sides see the same tokens.

    Raises:
        RuntimeError: a prompt, or the token that ends a response, differs.
    """
    if peer(text=list(prompts))["input_ids"] != tokenizer.encode_prompts(prompts):
        raise RuntimeError("the two sides make different tokens of a prompt")
    if (peer.eos_token_id, peer.pad_token_id) != (tokenizer.end_id, tokenizer.pad_id):
        raise RuntimeError("the two sides end a response with different tokens")
    if tokenizer.stop_ids != (tokenizer.end_id,):
        raise RuntimeError("aha ends a response with further tokens")


def train(progress: Progress, args: argparse.Namespace) -> None:
    """Train until the run is over."""
    source = TrainingProblems(seed=args.seed)
    starts = [iteration * RL.problems_per_iteration for iteration in range(RL.iterations)]
    problems = [p for start in starts for p in source(start, RL.problems_per_iteration)]
    prompts = [r1_zero(problem.question) for problem in problems]
    _, tokenizer = read_model(BUILT_IN)
    peer = PreTrainedTokenizerFast(
        tokenizer_file=str(BUILT_IN / "tokenizer.json"), eos_token=tokenizer.end, pad_token=tokenizer.pad
    )
    check_prompts(peer, tokenizer, prompts)
    model = AutoModelForCausalLM.from_pretrained(BUILT_IN, dtype=torch.float32)
    scoring = Scoring(problems, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = (CheckedTrainer if args.check else GRPOTrainer)(
            model=model,
            reward_funcs=scoring,
            args=configuration(folder, args.seed, args.rows),
            train_dataset=Dataset.from_dict({"prompt": prompts, "place": list(range(len(problems)))}),
            processing_class=peer,
            callbacks=[Watch(progress, scoring, tokenizer, args)],
            optimizers=optimizer_of(model),
        )
        trainer.train()


def main() -> None:
    """Read the arguments, train, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=int, help="run seed")
    parser.add_argument("--target", type=float, default=0.7, help="pass@1 on the validation problems that ends the run")
    parser.add_argument("--max-iterations", type=int, default=60, help="iterations after which it gives up")
    parser.add_argument("--rows", type=int, default=96, help="rows of a forward and backward pass")
    parser.add_argument("--evaluate-every", type=int, default=5, help="iterations between validations")
    parser.add_argument(
        "--check", action="store_true", help="compare every loss and gradient with aha's; not for timing"
    )
    args = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    progress = Progress("trl", seed=args.seed, target=args.target, max_iterations=args.max_iterations)
    train(progress, args)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__}
    print(progress.line(evaluate_every=args.evaluate_every, rows=args.rows, **versions), flush=True)


if __name__ == "__main__":
    main()
