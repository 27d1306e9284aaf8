"""One GRPO step of a model that is large for its machine: peak memory and time, beside the estimate.

    python benchmarks/large_step.py --size 1.5b --state 8-bit --precision bfloat16
    python benchmarks/large_step.py --size 0.3b --rank 16

A random checkpoint of the shape of Qwen2.5 is written to a folder (bfloat16, one file, with a tokenizer of the same
number of tokens); another process then runs a stage of one iteration on it: load, sample, score, reference, update,
and write the result. The last line is JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from aha.actors.workload import micro_batch_tokens
from aha.policy.config import PolicyConfig
from aha.policy.pretrained import write_policy
from aha.policy.transformer import Transformer
from aha.problems.world.corpus import vocabulary
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.prompts.templates import R1_ZERO
from aha.prompts.tokenizer import Tokenizer, build_tokenizer
from aha.recipes.base_model import open_base
from aha.rewards.accuracy import COMPARERS
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RLConfig
from aha.stages.rl import rl
from aha.stages.run import Run
from aha.stages.task import Task, Validation
from aha.training.checkpoint import write_checkpoint
from aha.training.config import LoRAConfig, OptimizerConfig
from aha.training.memory import Workload, describe, estimate
from aha.training.world import World
from aha.types import Problem, Rollout, Verdict

GIB = 1 << 30

PROMPT_TOKENS = 48
"""Tokens of a prompt of the built-in world, about."""

SHAPES = {
    "0.05b": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 4},
    "0.3b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 7},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12},
}
VOCAB_SIZES = {"0.05b": 32768, "0.3b": 32768, "1.5b": 151936}


def shape(size: str) -> PolicyConfig:
    """A configuration of the Qwen2.5 family; `1.5b` is that of Qwen2.5-1.5B."""
    groups = {"0.05b": 2, "0.3b": 1, "1.5b": 2}[size]
    return PolicyConfig.model_validate(
        {
            "model_type": "qwen2",
            "vocab_size": VOCAB_SIZES[size],
            "num_key_value_heads": groups,
            "head_dim": 128,
            "rope_theta": 1e6,
            "max_position_embeddings": 32768,
            **SHAPES[size],
        }
    )


def write_model(folder: Path, config: PolicyConfig) -> int:
    """Write a random bfloat16 checkpoint with a tokenizer that fills its vocabulary; its number of parameters."""
    with torch.device("meta"):
        policy = Transformer(config).to(torch.bfloat16)
    policy = policy.to_empty(device="cpu")
    policy.lm_head.weight = policy.model.embed_tokens.weight
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.fill_(1.0) if weight.dim() == 1 else weight.normal_(0.0, 0.02, generator=generator)
    tokenizer = full_tokenizer(config.vocab_size)
    if config.vocab_size > 100_000:
        # A model of this size is written without the checksums and copies of a checkpoint.
        small = PolicyConfig.model_validate(config.model_dump() | {"num_hidden_layers": 1, "hidden_size": 16})
        write_checkpoint(folder, Transformer(small), tokenizer, state={})
        for path in (*folder.glob("model*"), folder / "checksums.json", folder / "trainer.json"):
            path.unlink(missing_ok=True)
        write_policy(policy, folder, end_id=tokenizer.end_id, pad_id=tokenizer.pad_id)
    else:
        write_checkpoint(folder, policy, tokenizer, state={})
    return sum(weight.numel() for weight in policy.parameters())


def full_tokenizer(count: int) -> Tokenizer:
    """The tokenizer of the built-in world, filled up with words that nobody writes."""
    known = build_tokenizer(vocabulary(), [R1_ZERO]).vocab_size
    return build_tokenizer([*vocabulary(), *(f"word{n}" for n in range(count - known))], [R1_ZERO])


def evenness(problem: Problem, rollout: Rollout) -> Verdict:
    """A reward that differs within nearly every group, whatever a random model says."""
    del problem
    share = float((rollout.tokens % 2 == 0).float().mean())
    return Verdict(score=share, reason=f"{share:.2f} of the tokens are even")


def settings(given: argparse.Namespace) -> RLConfig:
    """One iteration of one update."""
    optimizer = OptimizerConfig(state=given.state, precision=given.precision, lora=LoRAConfig(rank=given.rank))
    return RLConfig(
        iterations=1,
        problems_per_iteration=given.problems,
        group_size=given.group_size,
        num_minibatches=1,
        max_new_tokens=given.cap,
        evaluate_every=2,
        optimizer=optimizer,
    )


def step(given: argparse.Namespace, model: Path, folder: Path) -> dict[str, float]:
    """Run the stage; peak memory and metrics."""
    torch.set_num_threads(given.threads)
    look = EvaluationConfig(num_problems=1, num_samples=1, temperature=1.0, top_p=1.0, max_new_tokens=2)
    watched = Validation(problems=held_out_problems("validation", 1), config=look)
    reward = {domain: {evenness: 1.0} for domain in COMPARERS}
    task = Task(problems=TrainingProblems(seed=0), reward=reward, validation=watched)
    run = Run(
        folder=RunFolder(folder), seed=0, world=World(device=given.device), say=lambda line: print(line, flush=True)
    )
    started = time.perf_counter()
    rl(run, "step", policy=open_base(model), task=task, config=settings(given))
    found = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    kept = ("loss", "grad_norm", "logp_gap", "kl", "tokens", "trained_tokens", "seconds")
    result = {name: found[name] for name in kept} | {"stage_seconds": time.perf_counter() - started}
    result["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    if given.device != "cpu":
        result["peak_device_gib"] = torch.cuda.max_memory_allocated() / GIB
    return result


def main() -> None:
    """Write the model, run the stage in a process of its own, and compare with the estimate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SHAPES, default="0.3b")
    parser.add_argument("--state", choices=("float32", "8-bit", "host"), default="float32")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rank", type=int, default=0, help="of adapters; 0 trains all weights")
    parser.add_argument("--problems", type=int, default=2)
    parser.add_argument("--group-size", type=int, default=4)
    parser.add_argument("--cap", type=int, default=16, help="tokens of a response")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where the model is kept; a temporary folder if not given")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(step(given, given.folder, given.inside)))
        return
    with tempfile.TemporaryDirectory(prefix="large-step-") as aside:
        given.folder = given.folder or Path(aside) / "model"
        if not given.folder.exists():
            print(f"parameters: {write_model(given.folder, shape(given.size)):,}", flush=True)
        arguments = [*sys.argv[1:], "--folder", str(given.folder), "--inside", str(Path(aside) / "run")]
        done = subprocess.run([sys.executable, __file__, *arguments], check=False, text=True, stdout=subprocess.PIPE)
        print(done.stdout, end="")
        if done.returncode:
            sys.exit(f"the step ended with status {done.returncode}")
        result = json.loads(done.stdout.splitlines()[-1])
    device = torch.device(given.device)
    load = Workload(
        micro_batch_tokens=min(micro_batch_tokens(device), int(result["trained_tokens"])),
        sequence_tokens=given.cap + PROMPT_TOKENS,
        num_rows=given.problems * given.group_size,
        has_reference=True,
    )
    found = estimate(shape(given.size), settings(given).optimizer, load, device)
    print(describe(found))
    print(
        json.dumps(
            {**result, "estimate_gib": found.peak / GIB, "measured_to_estimated": result["peak_gib"] * GIB / found.peak}
        )
    )


if __name__ == "__main__":
    main()
