"""Text to tokens and back: tokenizer, the templates of DeepSeek-R1 (Table 1) and the parsing of responses."""

__all__ = [
    "chat",
    "identification",
    "instructions",
    "language",
    "parsing",
    "pretrained",
    "questions",
    "templates",
    "tokenizer",
]
