"""What R1 takes besides numbers."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from aha.recipes.own.own_data import OwnData

__all__ = ["R1Options"]


@dataclass(frozen=True, kw_only=True)
class R1Options:
    """What R1 takes besides numbers."""

    own: OwnData = field(default_factory=OwnData)
    """Reasoning problems of your own. R1-Zero is always asked in its own prompt; the template is that of all models
    after it, and auto is R1's."""
    demonstrations: tuple[str, ...] = ()
    """A cold start of your own, with thinking in its responses; R1-Zero, which writes it otherwise, is then left out.
    Files of demonstrations, as those below: see docs/problems.md."""
    demonstration_fields: str = ""
    """Which columns of the demonstrations hold what, as in question=problem,response=solution,reasoning=trace."""
    general: tuple[str, ...] = ()
    """Demonstrations for general prompts, which join the reasoning data of Dev3."""
    general_fields: str = ""
    """Which columns of them hold what."""
    preferences: tuple[str, ...] = ()
    """Rankings of responses, for the helpful reward model of the last stage."""
    preference_fields: str = ""
    """Which columns of the rankings hold what, as in question=ask,chosen=better,rejected=worse."""
    safety: tuple[str, ...] = ()
    """Responses that are labelled as safe or not, for the safety reward model of the last stage."""
    safety_fields: str = ""
    """Which columns of them hold what, as in question=ask,response=said,is_safe=verdict, or
    is_unsafe=harmful."""
    compare: bool = False
    """With problems of your own, also train what R1 is compared with: Dev2 without the language reward, and the first
    student by reinforcement alone and after distillation. In the built-in world they are always trained."""
    students: tuple[Path, ...] = ()
    """Two model folders to distil into, Qwen2-shaped and Llama-shaped. Where none are given, the built-in students are
    pretrained in the built-in world, and nothing is distilled from problems of your own."""
    assistant: str | None = None
    """Address of an OpenAI-compatible endpoint: it rewrites the cold start. In the built-in world it also judges
    answers to general questions, which then join the reasoning data, and compares responses. Rules and the known truth
    do it where none is given."""
    assistant_model: str = "default"
    """Name of the model at that endpoint."""
    assistant_per_minute: float | None = None
    """Most requests per minute to that endpoint."""

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            ValueError: some do not; says which and what to do.
        """
        own = replace(self.own, weak_sandbox=False, long_prompts="stop")
        others = {
            "--demonstrations": self.demonstrations,
            "--general": self.general,
            "--preferences": self.preferences,
            "--safety": self.safety,
            "--compare": self.compare,
            "--test, --template, --reward and the like": own != OwnData(),
        }
        given = [name for name, value in others.items() if value]
        if given and not self.own.problems:
            raise ValueError(f"{', '.join(given)}: give reasoning problems of your own too, with --problems FILE.jsonl")
        if self.assistant is not None and self.demonstrations:
            raise ValueError(
                "--assistant rewrites the cold start, and --demonstrations give it as it is: leave one of them out"
            )
