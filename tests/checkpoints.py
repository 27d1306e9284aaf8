"""Model folders as the families' authors publish them: random weights, byte-level tokenizers, their chat templates."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RawTokenizer

TEXTS = (
    "The quick brown fox computes 12 + 30 = 42, then <think> it stops. </think>",
    "Let x be an integer. Find \\boxed{x} such that 3x + 7 = 22 and y < 5.",
    "从 7 23 16 18 选两个得 41。你好，世界！",
    "système user assistant You are a helpful assistant created by Alibaba Cloud 🙂 Today Date: 26 Jul 2024",
)

QWEN25 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

QWEN3 = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content.split('</think>')[-1].lstrip('\\n') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {%- generation %}{{- " " + message["content"] + eos_token}}{%- endgeneration %}
    {%- endif %}
{%- endfor %}
"""

DISTILLED = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{%- set ns = namespace(system_prompt='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}{%- set ns.system_prompt = message['content'] -%}{%- endif -%}
{%- endfor -%}
{{bos_token}}{{ns.system_prompt}}
{%- for message in messages %}
{%- if message['role'] == 'user' %}{{'<｜User｜>' + message['content']}}{%- endif %}
{%- endfor -%}
{% if add_generation_prompt %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"""

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 500000.0,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2-tied": {"model_type": "qwen2", "tie_word_embeddings": True, "rope_theta": 1000000.0},
    "qwen2-untied": {"model_type": "qwen2", "tie_word_embeddings": False, "num_key_value_heads": 4},
    "qwen3": {"model_type": "qwen3", "tie_word_embeddings": True, "head_dim": 16, "rope_theta": 1000000.0},
    "qwen3-bias": {"model_type": "qwen3", "tie_word_embeddings": False, "head_dim": 12, "attention_bias": True},
    "llama3": {"model_type": "llama", "tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE},
    "llama-bias": {"model_type": "llama", "tie_word_embeddings": False, "attention_bias": True},
    "mistral": {"model_type": "mistral", "tie_word_embeddings": False, "sliding_window": None, "head_dim": 12},
    "mistral-wide-window": {"model_type": "mistral", "tie_word_embeddings": False, "sliding_window": 4096},
}
"""What sets a configuration of `transformers` apart; the rest is `SHAPE`."""

SHAPE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}

TOKENIZERS: dict[str, dict[str, Any]] = {
    "qwen2.5": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "config": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None, "add_bos_token": False},
        "stops": ["<|im_end|>", "<|endoftext|>"],
        "template": QWEN25,
    },
    "qwen3": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "added": ["<think>", "</think>"],
        "config": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None},
        "stops": ["<|im_end|>", "<|endoftext|>"],
        "template": QWEN3,
    },
    "llama3": {
        "special": [
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eom_id|>",
            "<|eot_id|>",
        ],
        "config": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        "stops": ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
        "begin": "<|begin_of_text|>",
        "template": LLAMA3,
    },
    "mistral": {
        "special": ["<s>", "</s>", "[INST]", "[/INST]"],
        "config": {
            "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": False},
            "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": False},
        },
        "stops": ["</s>"],
        "begin": "<s>",
        "template": MISTRAL,
    },
    "distilled": {
        "special": ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"],
        "added": ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"],
        "config": {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"},
        "stops": ["<｜end▁of▁sentence｜>"],
        "begin": "<｜begin▁of▁sentence｜>",
        "template": DISTILLED,
    },
}
"""Special and added tokens, tokenizer_config.json, stop tokens, and the template, as each family has them."""


@cache
def trained() -> str:
    """A byte-level BPE without added tokens."""
    raw = RawTokenizer(models.BPE())
    splitting = pre_tokenizers.Split(Regex(r"\p{N}|\s+(?!\S)|\s?\p{L}+|[^\s\p{L}\p{N}]+|\s+"), behavior="isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [splitting, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    raw.train_from_iterator(TEXTS * 4, trainer)
    return raw.to_str()


def write_tokenizer_files(folder: Path, kind: str) -> None:
    """The files of a family's tokenizer, into a folder."""
    given = TOKENIZERS[kind]
    raw = RawTokenizer.from_str(trained())
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in given["special"]])
    raw.add_tokens([AddedToken(token, special=False, normalized=False) for token in given.get("added", ())])
    if begin := given.get("begin"):
        template = processors.TemplateProcessing(
            single=f"{begin} $A",
            pair=f"{begin} $A {begin} $B:1",
            special_tokens=[(begin, raw.token_to_id(begin))],
        )
        raw.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    raw.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 131072,
        "clean_up_tokenization_spaces": False,
        "chat_template": given["template"],
        **given["config"],
    }
    write(folder / "tokenizer_config.json", config)
    named = {name: token for name, token in given["config"].items() if name.endswith("_token") and token}
    write(folder / "special_tokens_map.json", {k: v for k, v in named.items() if isinstance(v, str | dict)})
    stops = [raw.token_to_id(token) for token in given["stops"]]
    generation = {"do_sample": True, "temperature": 0.6, "eos_token_id": stops if len(stops) > 1 else stops[0]}
    write(folder / "generation_config.json", generation)


def write(path: Path, content: object) -> None:
    """A JSON file."""
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
