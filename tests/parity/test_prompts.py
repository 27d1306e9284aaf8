"""One question, one prompt, one response: the same tokens wherever a model is asked.

That is in training, in validation, in evaluation, by `sample`, and from the chat template that is served.
"""

import gzip
import json
from pathlib import Path

import lazy_transformers as transformers
import pytest
import torch
from checkpoints import write_tokenizer_files
from tiny import evenness, tiny_config, tiny_policy

from aha.commands.evaluation import SampleOrder, sample_once
from aha.engines.engine import Decoding
from aha.policy.pretrained import write_policy
from aha.problems.datasets.sets import ProblemSet
from aha.problems.splits import file_problems
from aha.prompts.pretrained import read_tokenizer
from aha.prompts.templates import opening_of, r1_zero
from aha.recipes.base_model import open_base
from aha.recipes.own.prompting import named_template, own_template
from aha.runs.folder import RunFolder
from aha.stages.config import EvaluationConfig, RLConfig
from aha.stages.evaluate import Setting, evaluate, template_digest
from aha.stages.rl import rl
from aha.stages.run import Run
from aha.stages.task import Task, Validation
from aha.training.checkpoint import read_model, write_checkpoint
from aha.types import Checkpoint, Problem, Rollout, Verdict

# `transformers` takes two seconds of every process that imports it.
pytestmark = pytest.mark.full

QUESTION = "Let x be 3. What is x + 4?"
PROBLEM = Problem(id="p", question=QUESTION, answer="7", domain="text")
WATCHED = Problem(id="watched", question=QUESTION, answer="7", domain="text")
NUM_NEW = 6
SHORT = RLConfig(iterations=1, problems_per_iteration=1, group_size=2, num_minibatches=1, max_new_tokens=NUM_NEW)
LOOK = EvaluationConfig(num_problems=1, num_samples=2, max_new_tokens=NUM_NEW)

SURE = 1e4
"""Factor of the logits of a model that always says the same, whatever is drawn: seeds differ from place to place."""


def model_of(folder: Path, kind: str) -> Checkpoint:
    """A random model with the tokenizer and the chat template of a family, which is sure of every token."""
    folder.mkdir()
    write_tokenizer_files(folder, kind)
    tokenizer = read_tokenizer(folder, room=512)
    policy = tiny_policy(tiny_config(vocab_size=512, max_position_embeddings=1024, tie_word_embeddings=False))
    with torch.no_grad():
        policy.head_VD.mul_(SURE)
    write_policy(
        policy,
        folder,
        end_id=tokenizer.end_id,
        pad_id=tokenizer.pad_id,
        begin_id=tokenizer.begin_id,
        stop_ids=tokenizer.stop_ids,
    )
    return open_base(folder)


def recorded(run: Run, name: str) -> tuple[list[int], list[int], str]:
    """Tokens of the first prompt, tokens and text of its first response, of a rollout file."""
    text = gzip.decompress((run.folder.path / "rollouts" / f"{name}.jsonl.gz").read_bytes()).decode()
    row = json.loads(text.splitlines()[0])
    return row["prompt_tokens"], row["tokens"], row["text"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("auto", "qwen2.5"),
        ("auto", "distilled"),
        ("r1_zero", "mistral"),
        ("r1", "qwen2.5"),
        ("bare", "distilled"),
        ("chat", "mistral"),
        ("chat", "distilled"),
    ],
)
def test_a_question_is_the_same_prompt_everywhere(name: str, kind: str, tmp_path: Path) -> None:
    start = model_of(tmp_path / "start", kind)
    template = named_template(name, start)
    problems = ProblemSet(problems=[PROBLEM], name="one", says="")
    watched: list[Rollout] = []

    def watching(problem: Problem, rollout: Rollout) -> Verdict:
        """A reward that sees the responses of validation, which no file holds."""
        if problem.id == WATCHED.id:
            watched.append(rollout)
        return evenness(problem, rollout)

    task = Task(
        problems=file_problems([problems], seed=0),
        reward={"text": {watching: 1.0}},
        validation=Validation(problems=[WATCHED], config=LOOK),
        template=template,
    )
    run = Run(folder=RunFolder(tmp_path / "run"), seed=0)
    trained = rl(run, "zero", policy=start, task=task, config=SHORT)
    in_training, response, text = recorded(run, "zero-000000")
    assert len(response) == NUM_NEW

    # Validation looks before the first update or after the last one: the model says the same.
    assert watched
    for rollout in watched:
        assert (rollout.prompt_tokens.tolist(), rollout.tokens.tolist()) == (in_training, response)
        assert rollout.text == text

    # Where the template opens the thinking, the response is read with the tag.
    opening = opening_of(template(QUESTION))
    assert text.startswith(opening)
    assert bool(opening) == (kind == "distilled" and name == "chat")

    # What `--template auto` takes is what the model was trained with.
    found = own_template(trained)
    assert template_digest(found) == template_digest(template)
    setting = Setting(template=found, reward=task.reward)
    report = evaluate(run, "end", policy=trained, problems=[PROBLEM], config=LOOK, setting=setting)
    assert report.template == template_digest(template)
    assert recorded(run, "evaluation-end") == (in_training, response, text)

    decoding = Decoding(max_new_tokens=NUM_NEW)
    sampled = sample_once(SampleOrder(model=str(trained.path), question=QUESTION, decoding=decoding, seed=0))
    assert (sampled["prompt_tokens"], sampled["tokens"], sampled["text"]) == (in_training, response, text)

    # What vLLM and `transformers` serve.
    served = transformers.AutoTokenizer.from_pretrained(trained.path)
    messages = [{"role": "user", "content": QUESTION}]
    encoded = served.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert list(encoded) == in_training
    model = transformers.AutoModelForCausalLM.from_pretrained(trained.path)
    generated = model.generate(torch.tensor([in_training]), max_new_tokens=NUM_NEW, do_sample=False)
    assert generated[0].tolist() == [*in_training, *response]


def test_transformers_ends_responses_where_training_did(tmp_path: Path) -> None:
    """It asks for the tokenizer, without which it could not read the text that it has generated."""
    policy, tokenizer = read_model(model_of(tmp_path / "start", "qwen2.5").path)
    letters = tuple("abcdefghijklmnopqrstuvwxyz")
    write_checkpoint(tmp_path / "trained", policy, tokenizer.trained_with(r1_zero, letters), state={})
    served = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "trained")
    assert served.generation_config.stop_strings == list(letters)
    prompt = tokenizer.encode_prompt(QUESTION)[None]
    with pytest.raises(ValueError, match="you must pass the model's tokenizer"):
        served.generate(prompt, max_new_tokens=200)

    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "trained")
    generated = served.generate(prompt, max_new_tokens=200, tokenizer=read)[0, prompt.shape[1] :]
    text, before = (read.decode(tokens, skip_special_tokens=True) for tokens in (generated, generated[:-1]))
    assert not set(letters) & set(before)
    assert set(letters) & set(text)


def test_a_model_without_a_chat_template_is_asked_as_a_base_model(tmp_path: Path) -> None:
    model = model_of(tmp_path / "model", "qwen2.5")
    path = model.path / "tokenizer_config.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    del described["chat_template"]
    path.write_text(json.dumps(described), encoding="utf-8")
    assert template_digest(own_template(model)) == template_digest(named_template("r1_zero", model))
    with pytest.raises(ValueError, match=r"--template chat: .*model has no chat template"):
        own_template(model, "chat")
