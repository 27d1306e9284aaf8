"""Distillation: smaller students learn from the data of R1's last fine-tuning, and what that is worth.

Beside it the same student is trained by reinforcement learning with as many samples, and the distilled student is
trained further.

Source: DeepSeek-R1, arXiv:2501.12948v1, 2.4, Tables 5 and 6; v2, B.4.3.
"""

from collections.abc import Sequence
from dataclasses import replace

from aha.policy.config import ModelType
from aha.prompts.templates import r1_zero
from aha.recipes.r1.material import Material
from aha.recipes.r1.scales import StudentsConfig
from aha.stages.pretrain import pretrain
from aha.stages.rl import rl
from aha.stages.run import Run
from aha.stages.sft import sft
from aha.types import Checkpoint, Dataset

__all__ = ["FAMILIES", "distil"]

FAMILIES: tuple[ModelType, ...] = ("qwen2", "llama")
"""The students' families, in the order in which they are given."""


def distil(
    run: Run, students: Sequence[Checkpoint], data: Sequence[Dataset], scale: StudentsConfig, material: Material
) -> None:
    """Distil into two students, and compare with reinforcement learning.

    Args:
        run: the run.
        students: base models, one for each of `FAMILIES`; they are pretrained here where none are given.
        data: the teacher's demonstrations.
        scale: the numbers.
        material: the examination of all of them, the prompts, and the tasks of those that learn by reinforcement.
    """
    bases = list(students)
    if not bases:
        bases = [pretrain(run, family, config=scale.pretrain, model_type=family) for family in FAMILIES]

    # As in the paper, students are fine-tuned alone: no reinforcement learning is part of distillation.
    exam = material.exam
    distilled = []
    for family, base, config in zip(FAMILIES, bases, (scale.qwen2, scale.llama), strict=True):
        # In R1-Zero's prompt, as every base model is examined.
        exam.take(run, family, base, template=r1_zero)
        name = f"{family}-distilled"
        template = material.prompt(base)
        student = sft(run, name, policy=base, data=data, config=config, template=template)
        exam.take(run, name, student, template=template)
        distilled.append(student)
    if not material.compares:
        return

    # Table 6 of v1: the same base by reinforcement learning alone, as R1-Zero was made.
    direct = rl(run, "qwen2-rl", policy=bases[0], task=material.zero, config=scale.direct)
    exam.take(run, "qwen2-rl", direct, template=r1_zero)

    # Ours: v1, 2.4 expects more of a distilled model that learns by reinforcement, and leaves it to others.
    template = material.prompt(bases[0])
    task = replace(material.reasoning, template=template)
    further = rl(run, "qwen2-distilled-rl", policy=distilled[0], task=task, config=scale.further)
    exam.take(run, "qwen2-distilled-rl", further, template=template)
