"""Sampling and learning on one GPU, beside the limits of the card and beside transformers there.

    python benchmarks/gpu.py --model 1.5b --parts decode train
    python benchmarks/gpu.py --model 0.5b --parts decode peer-decode train peer-train --json gpu.json

Models are random, in the shape of Qwen2.5, in bfloat16; prompts are random tokens, and no response ends before its
length. It needs torch for CUDA and, for the peer, transformers.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aha.advantages.group import group_advantages
from aha.algorithms.grpo import GRPO
from aha.engines.engine import Decoding, Request, sample
from aha.engines.graphed import GraphedDecoder
from aha.engines.local import LocalEngine
from aha.policy.checkpointing import checkpoint_activations
from aha.policy.config import DenseConfig
from aha.policy.transformer import Transformer, initialise
from aha.training.batch import stack
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner, reference_logp
from aha.training.optimizer import adamw
from aha.types import Rollout

DATASHEET_FLOPS = 989e12
"""Dense bfloat16 operations a second of an H100 or H200 with NVLink, by the maker's data sheet."""

DEVICE = torch.device("cuda")

SHAPES = {
    "tiny": {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4},
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12},
}


def config_of(name: str) -> DenseConfig:
    """A shape of Qwen2.5."""
    shape = SHAPES[name]
    size = shape["hidden_size"] // shape["num_attention_heads"]
    fixed: dict[str, Any] = {"vocab_size": 151936, "num_key_value_heads": 2, "head_dim": size, "rope_theta": 1e6}
    return DenseConfig(model_type="qwen2", max_position_embeddings=32768, **fixed, **shape)


class Numbers:
    """A tokenizer for prompts that are numbers; nothing ends a response."""

    stop_ids: tuple[int, ...] = ()

    def encode_prompt(self, prompt: str) -> Tensor:
        """The numbers of a prompt."""
        return torch.tensor([int(word) for word in prompt.split()])

    def decode(self, tokens_T: Tensor) -> str:
        """Nothing: text is not what is measured."""
        return ""


class Bench:
    """One model and the work."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Make the policy and the prompts, and measure the card."""
        self.given, self.config = given, config_of(given.model)
        draws = torch.Generator(DEVICE).manual_seed(0)
        with torch.device(DEVICE):
            self.policy = Transformer(self.config)
        initialise(self.policy, draws)
        self.policy.to(torch.bfloat16)
        tokens = torch.randint(0, 150_000, (given.prompts, given.prompt_tokens), generator=draws, device=DEVICE)
        self.prompts = tokens.tolist()
        self.num_parameters = sum(weight.numel() for weight in self.policy.parameters())
        self.bandwidth, self.flops = _bandwidth(), _matrix_rate()
        self.rollouts: list[Rollout] = []

    def decode(self) -> dict[str, float]:
        """Sample all responses; the second time counts."""
        given = self.given
        num_rows = given.prompts * given.samples
        engine = LocalEngine(self.policy, Numbers(), max_rows=num_rows)  # type: ignore[arg-type]  # enough of one
        decoding = Decoding(max_new_tokens=given.new_tokens)
        requests = [
            Request(id=str(n), prompt=text, seed=("gpu", n), decoding=decoding)
            for n, text in enumerate(" ".join(map(str, prompt)) for prompt in self.prompts)
        ]
        short = [replace(request, decoding=Decoding(max_new_tokens=20)) for request in requests[:2]]
        first = _timed(lambda: sample(engine, short, given.samples))[0]
        torch.cuda.reset_peak_memory_stats()
        seconds, groups = _timed(lambda: sample(engine, requests, given.samples))
        self.rollouts = [rollout for group in groups for rollout in group]
        step_seconds = self._step_seconds()
        num_tokens = num_rows * given.new_tokens
        bound = self._bytes_read() / self.bandwidth
        return {
            "seconds": seconds,
            "seconds_building": first,
            "tokens_per_second": num_tokens / seconds,
            "bound_seconds": bound,
            "share_of_bandwidth": bound / seconds,
            "share_of_bandwidth_in_steps": bound / (step_seconds * given.new_tokens),
            "step_milliseconds": step_seconds * 1e3,
            "share_of_matrix_rate": 2 * self.num_parameters * num_tokens / seconds / self.flops,
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        }

    def _bytes_read(self) -> float:
        """The fewest bytes of all steps: weights, each prompt's keys and values once, and each row's own."""
        given, config = self.given, self.config
        column = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
        own = given.prompts * given.samples * column * given.new_tokens * (given.new_tokens + 1) / 2
        return own + given.new_tokens * (2 * self.num_parameters + given.prompts * given.prompt_tokens * column)

    def _step_seconds(self) -> float:
        """Seconds of one step of all rows when responses are half as long as they will be, without the host."""
        from aha.engines.decoder import Prompt, work_for

        given = self.given
        prompts = [torch.tensor(prompt) for prompt in self.prompts]
        num_rows = given.prompts * given.samples
        work = work_for(prompts, num_slots=num_rows, max_new_tokens=given.new_tokens)
        shared = [Prompt(number=number, tokens=tokens) for number, tokens in enumerate(prompts)]
        with torch.inference_mode():
            decoder = GraphedDecoder(self.policy, work)
            decoder.admit([shared[row // given.samples] for row in range(num_rows)])
            decoder._rows[1].fill_(given.new_tokens // 2)
            tokens = torch.zeros(num_rows, dtype=torch.int64, device=DEVICE)
            for _ in range(3):
                decoder.step(tokens)
            if given.profile:
                _profiled(lambda: decoder.step(tokens))
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(20):
                decoder.step(tokens)
            stop.record()
            torch.cuda.synchronize()
        return start.elapsed_time(stop) / 20 / 1e3

    def agree(self) -> dict[str, float]:
        """How far engine and learner are apart, nats."""
        rollouts = self.rollouts[:32]
        batch = stack([o.prompt_tokens for o in rollouts], [o.tokens for o in rollouts])
        logp_BT = reference_logp(self.policy, batch, temperature=1.0)
        gap = torch.cat([o.logp for o in rollouts]) - logp_BT[batch.mask_BT]
        return {
            "mean_gap": float(gap.abs().mean()),
            "largest_gap": float(gap.abs().max()),
            "mean_ratio": float(gap.exp().mean()),
        }

    def train(self) -> dict[str, float]:
        """Update from some groups; the second step counts."""
        given = self.given
        num_rows = given.train_prompts * given.samples
        rollouts = self._responses(num_rows)
        torch.cuda.empty_cache()
        if given.recompute:
            checkpoint_activations(self.policy)
        learner = Learner(
            self.policy,
            adamw(self.policy, OptimizerConfig(precision="bfloat16", learning_rate=1e-6)),
            factor=lambda step: 1.0,
            grad_clip=1.0,
            max_tokens=given.max_tokens,
        )
        rewards_PG = torch.rand(given.train_prompts, given.samples, generator=torch.Generator().manual_seed(1))
        adv_B = group_advantages(rewards_PG).flatten()
        logp = [rollout.logp for rollout in rollouts]
        batch = stack(
            [rollout.prompt_tokens for rollout in rollouts],
            [rollout.tokens for rollout in rollouts],
            {
                "old_logp_BT": logp,
                "ref_logp_BT": logp,
                "adv_BT": [adv.expand(len(one)) for one, adv in zip(logp, adv_B, strict=True)],
            },
        )
        loss = GRPO().loss
        _timed(lambda: learner.step(batch, loss, name="the first"))
        torch.cuda.reset_peak_memory_stats()
        seconds, metrics = _timed(lambda: learner.step(batch, loss, name="the second"))
        if given.profile:
            _profiled(lambda: learner.step(batch, loss, name="the third"))
        flops = self._training_flops()
        return {
            "seconds": seconds,
            "tokens_per_second": num_rows * given.new_tokens / seconds,
            "tera_flops": flops / seconds / 1e12,
            "mfu": flops / seconds / DATASHEET_FLOPS,
            "share_of_matrix_rate": flops / seconds / self.flops,
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
            "ratio": metrics["ratio"],
        }

    def _training_flops(self) -> float:
        """Operations that nobody can do without: 6 a parameter and token, prompts once, and causal attention."""
        given, config = self.given, self.config
        table = config.vocab_size * config.hidden_size  # the head is for responses alone; the embedding is looked up
        prompt, own = given.prompt_tokens, given.new_tokens
        rows = given.train_prompts * given.samples
        stream = given.train_prompts * prompt + rows * own
        seen = given.train_prompts * prompt**2 / 2 + rows * own * (prompt + own / 2)
        attention = 4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * seen
        return 6 * ((self.num_parameters - table) * stream + table * rows * own) + 3 * attention

    def _responses(self, count: int) -> list[Rollout]:
        """Rollouts to learn from: those that were sampled, or random ones."""
        given = self.given
        if len(self.rollouts) >= count:
            return self.rollouts[:count]
        draws = torch.Generator().manual_seed(2)
        return [
            Rollout(
                problem_id="",
                prompt_tokens=torch.tensor(self.prompts[row // given.samples]),
                tokens=torch.randint(0, 150_000, (given.new_tokens,), generator=draws),
                logp=torch.full((given.new_tokens,), -11.9),
                text="",
                finish="length",
            )
            for row in range(count)
        ]

    def peer(self) -> Any:
        """The same shape in transformers."""
        from transformers import Qwen2Config, Qwen2ForCausalLM

        config = Qwen2Config(
            **{name: value for name, value in self.config.model_dump().items() if name in PEER_FIELDS},
            rope_parameters={"rope_theta": 1e6, "rope_type": "default"},
        )
        with torch.device(DEVICE):
            return Qwen2ForCausalLM(config).to(torch.bfloat16)

    def peer_decode(self) -> dict[str, float]:
        """`generate` of transformers."""
        given, model = self.given, self.peer().eval()
        prompts = torch.tensor(self.prompts, device=DEVICE).repeat_interleave(given.samples, 0)
        how = {"do_sample": True, "top_k": 0, "top_p": 1.0, "pad_token_id": 0, "eos_token_id": None}

        def run(count: int) -> Any:
            with torch.inference_mode():
                return model.generate(
                    prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=count, min_new_tokens=count, **how
                )

        _timed(lambda: run(4))
        torch.cuda.reset_peak_memory_stats()
        seconds, found = _timed(lambda: run(given.peer_tokens))
        if found.shape[1] != given.prompt_tokens + given.peer_tokens:
            raise RuntimeError("the peer's responses do not have the length that was asked for")
        count = len(prompts) * given.peer_tokens
        peak = torch.cuda.max_memory_allocated() / 2**30
        return {"seconds": seconds, "tokens_per_second": count / seconds, "peak_gib": peak}

    def peer_train(self) -> dict[str, float]:
        """A plain loop: whole sequences, all logits, AdamW; the second of two passes over some rows counts."""
        given, model = self.given, self.peer().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
        rollouts = self._responses(2 * given.samples)
        rows_BT = torch.stack([torch.cat((o.prompt_tokens, o.tokens)) for o in rollouts]).to(DEVICE)

        def run() -> None:
            for part_BT in rows_BT.split(given.peer_rows):
                logits = model(part_BT).logits[:, given.prompt_tokens - 1 : -1].float()
                logp = torch.log_softmax(logits, -1).gather(-1, part_BT[:, given.prompt_tokens :, None])
                (-logp.mean()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        _timed(run)
        torch.cuda.reset_peak_memory_stats()
        seconds, _ = _timed(run)
        peak = torch.cuda.max_memory_allocated() / 2**30
        return {
            "seconds": seconds,
            "tokens_per_second": len(rollouts) * given.new_tokens / seconds,
            "peak_gib": peak,
        }


PEER_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
)


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds until the GPU has done it, and what it gives."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    result = run()
    torch.cuda.synchronize()
    return time.perf_counter() - started, result


def _profiled(run: Callable[[], Any]) -> None:
    """Print the kernels that take longest."""
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as found:
        run()
        torch.cuda.synchronize()
    rows = sorted(found.key_averages(), key=lambda row: -row.self_device_time_total)
    total = sum(row.self_device_time_total for row in rows)
    print(f"  kernels: {total / 1e3:.2f} ms")
    for row in rows[:22]:
        print(f"  {row.self_device_time_total / 1e3:9.3f} ms {row.count:6} {row.key[:90]}")


def _bandwidth() -> float:
    """Bytes a second of a copy on the device, read and written."""
    source = torch.randint(0, 255, (1 << 32,), dtype=torch.uint8, device=DEVICE)
    goal = torch.empty_like(source)
    times = [_timed(lambda: goal.copy_(source))[0] for _ in range(8)]
    return 2 * source.numel() / statistics.median(times[2:])


def _matrix_rate() -> float:
    """Operations a second of a bfloat16 product of 8192 x 8192 matrices."""
    left = torch.randn(8192, 8192, dtype=torch.bfloat16, device=DEVICE)

    def some() -> None:
        for _ in range(10):
            left @ left

    return 10 * 2 * 8192**3 / statistics.median([_timed(some)[0] for _ in range(5)][1:])


def _shown(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, measure, and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parts = ["decode", "agree", "train", "peer-decode", "peer-train"]
    parser.add_argument("--model", choices=list(SHAPES), default="0.5b")
    parser.add_argument("--parts", nargs="+", choices=parts, default=["decode", "agree", "train"])
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=16, help="responses to each prompt")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=512)
    parser.add_argument("--peer-tokens", type=int, default=512, help="new tokens of the peer's generate")
    parser.add_argument("--peer-rows", type=int, default=4, help="sequences of the peer's forward pass")
    parser.add_argument("--train-prompts", type=int, default=16, help="groups of an update")
    parser.add_argument("--max-tokens", type=int, default=16384, help="tokens of a micro-batch")
    parser.add_argument("--recompute", action="store_true", help="compute layers again in the backward pass")
    parser.add_argument("--profile", action="store_true", help="print the kernels that take longest")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    bench = Bench(given)
    found: dict[str, Any] = {
        "model": given.model,
        "parameters": bench.num_parameters,
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "bandwidth_tb": bench.bandwidth / 1e12,
        "matrix_tera_flops": bench.flops / 1e12,
    }
    print(", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    for part in given.parts:
        figures = getattr(bench, part.replace("-", "_"))()
        found[part] = figures
        print(f"{part}: {_shown(figures)}", flush=True)
        torch.cuda.empty_cache()
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
