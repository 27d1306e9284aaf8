"""The built-in world: its problems, facts and texts, in English and Chinese."""

__all__ = [
    "contents",
    "corpus",
    "editing",
    "families",
    "general",
    "lexicon",
    "questions",
    "summaries",
    "traces",
    "writers",
]
