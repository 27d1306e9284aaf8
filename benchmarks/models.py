"""Write the benchmark's models: random weights in the shapes of real families, one tokenizer, 64 prompts of 24 tokens.

Run in the peers' environment (see README.md): `python benchmarks/models.py OUT` writes OUT/a and OUT/c (Qwen2 of 3M and
19M parameters), OUT/b (DeepseekV3 of 4M: latent attention and a mixture of experts) and OUT/prompts.json. Random
weights cost what trained ones cost; lengths are forced by the benchmark.
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from workload import END_ID, PAD_ID, PROMPT_TOKENS

BEGIN_ID = 2
VOCABULARY_SIZE, NUM_SAVED_PROMPTS = 512, 64
SHARED = {
    "vocab_size": VOCABULARY_SIZE,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "pad_token_id": PAD_ID,
    "eos_token_id": END_ID,
    "bos_token_id": BEGIN_ID,
}
VERBS = ("buys", "sells", "loses", "finds", "counts", "paints", "breaks", "shares")
NOUNS = ("pears", "stamps", "marbles", "coins", "books", "shells", "tiles", "beads")
NAMES = ("Mara", "Ivo", "Lena", "Omar", "Yuki", "Noor")


def sentences(count: int) -> Iterator[str]:
    """Word problems without an answer: `Mara finds 47 coins and sells 12 beads ... How many are left?`."""
    draw = random.Random(0)
    for _ in range(count):
        clauses = [f"{draw.choice(VERBS)} {draw.randint(2, 999)} {draw.choice(NOUNS)}" for _ in range(6)]
        yield f"{draw.choice(NAMES)} {' and '.join(clauses)}. How many are left?"


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, trained on the texts."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    names = ["<pad>", "<eos>", "<bos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY_SIZE, special_tokens=names, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=names[PAD_ID], eos_token=names[END_ID], bos_token=names[BEGIN_ID]
    )


def cut_prompts(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The first 24 tokens of each text, where they are 24 tokens again once they are text."""

    def tokens(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    cut = (tokenizer.decode(tokens(text)[:PROMPT_TOKENS]) for text in texts)
    return [text for text in dict.fromkeys(cut) if len(tokens(text)) == PROMPT_TOKENS][:NUM_SAVED_PROMPTS]


def qwen2(width: int, layers: int, heads: int, inner: int) -> PreTrainedModel:
    """A Qwen2 model with two query heads for each key-value head."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            intermediate_size=inner,
            **SHARED,
        )
    )


def deepseek_v3() -> PreTrainedModel:
    """A DeepseekV3 model: one dense layer, then three with two of eight experts and a shared one."""
    return DeepseekV3ForCausalLM(
        DeepseekV3Config(
            hidden_size=256,
            num_hidden_layers=4,
            intermediate_size=512,
            num_attention_heads=4,
            num_key_value_heads=4,
            q_lora_rank=96,
            kv_lora_rank=64,
            qk_nope_head_dim=48,
            qk_rope_head_dim=16,
            v_head_dim=64,
            first_k_dense_replace=1,
            moe_intermediate_size=128,
            n_routed_experts=8,
            n_shared_experts=1,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            routed_scaling_factor=1.0,
            norm_topk_prob=True,
            **SHARED,
        )
    )


def main(out: Path) -> None:
    """Write everything."""
    texts = list(sentences(5000))
    tokenizer = train_tokenizer(texts)
    torch.manual_seed(0)
    shapes = {"a": qwen2(256, 4, 4, 704), "b": deepseek_v3(), "c": qwen2(512, 6, 8, 1536)}
    for name, model in shapes.items():
        model.save_pretrained(out / name)
        tokenizer.save_pretrained(out / name)
        print(f"{out / name}: {model.num_parameters():,} parameters")
    (out / "prompts.json").write_text(json.dumps(cut_prompts(texts, tokenizer), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
