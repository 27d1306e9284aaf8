"""What the doctor finds before a single response is sampled: in weights, tokenizer, template and prompts."""

from collections import Counter
from collections.abc import Iterator

from aha.prompts.chat import chat
from aha.stages.doctor.diagnosis import END_TOKENS, Finding, RunCandidate

__all__ = ["findings_before_sampling"]

FORMAT_SAMPLE = "<think> a </think> <answer> b </answer>"
"""A response that keeps to R1-Zero's format: a tokenizer must be able to say it."""

_SAMPLE_QUESTION = "1 + 1"


def findings_before_sampling(candidate: RunCandidate) -> list[Finding]:
    """All that is wrong with a run before a response is sampled."""
    findings: list[Finding] = []
    for check in (_weights, _lengths, _words, _served, _tags, _stops):
        findings += check(candidate)
    return findings


def _weights(candidate: RunCandidate) -> Iterator[Finding]:
    """Weights that are not finite."""
    bad = candidate.policy.parameters_not_finite()
    if bad:
        yield Finding(
            code="weights-not-finite",
            is_fatal=True,
            what=f"{len(bad)} tensors of the model hold infinities or NaN, {bad[0]} first",
            remedy="take another checkpoint, or load it in float32",
        )


def _lengths(candidate: RunCandidate) -> Iterator[Finding]:
    """Prompts that leave too few positions for the response."""
    limit = candidate.policy.max_positions
    cap = candidate.decoding.max_new_tokens
    lengths = [len(ids) for ids in candidate.tokenizer.encode_prompts(candidate.prompts)]
    shortest = min(lengths)
    longest = max(lengths)

    # An empty prompt has no last token from which the first one of a response could be predicted.
    if shortest == 0 or longest + cap > limit:
        yield Finding(
            code="no-room",
            is_fatal=True,
            what=f"prompts of {shortest} to {longest} tokens and {cap} new ones; the model has {limit} places",
            remedy=f"lower max-new-tokens to {max(0, limit - longest)} or less, or leave out the longest problems",
        )


def _words(candidate: RunCandidate) -> Iterator[Finding]:
    """Words that the vocabulary lacks."""
    prompts = candidate.prompts
    tokenizer = candidate.tokenizer
    unknown = Counter(word for prompt in prompts for word in tokenizer.unknown_words(prompt))
    num_tokens = sum(len(ids) for ids in tokenizer.encode_prompts(prompts))
    share = unknown.total() / max(1, num_tokens)
    if unknown:
        shown = ", ".join(repr(word) for word, _ in unknown.most_common(5))
        yield Finding(
            code="unknown-words",
            is_fatal=share > 0.1,
            what=f"{share:.0%} of the prompts' tokens are unknown to the vocabulary: {shown}",
            remedy="take a model whose tokenizer covers the problems",
        )


def _served(candidate: RunCandidate) -> Iterator[Finding]:
    """A template that the checkpoint cannot name, so that the trained model would be asked in another way."""
    tokenizer = candidate.tokenizer.trained_with(candidate.template)
    question = candidate.problems[0].question
    trained_ids = tokenizer.encode_prompts([candidate.template(question)])[0]

    # A server renders the chat template of the checkpoint and puts nothing before it.
    served_ids = tokenizer.encode_all([chat(tokenizer)(question)])[0] if tokenizer.chat_template else None
    if served_ids == trained_ids:
        return

    if served_ids:
        pairs = enumerate(zip(served_ids, trained_ids, strict=False))
        difference = next((index for index, (served, trained) in pairs if served != trained), 0)
        where = f", from token {difference} on"
    else:
        where = ": there is none"
    yield Finding(
        code="served-otherwise",
        is_fatal=False,
        what=f"the chat template that the trained model will have makes another prompt than training does{where}",
        remedy="take --template r1_zero, r1, bare or chat, or write chat_template.jinja for your template",
    )


def _tags(candidate: RunCandidate) -> Iterator[Finding]:
    """A tokenizer that leaves the tags of the format out when it decodes."""
    tokenizer = candidate.tokenizer
    decoded = tokenizer.decode(tokenizer.encode(FORMAT_SAMPLE))

    # A decoder leaves out special tokens, and some checkpoints have made the tags special.
    lost = [tag for tag in FORMAT_SAMPLE.split() if tag.startswith("<") and tag not in decoded]
    if lost:
        yield Finding(
            code="format-unreachable",
            is_fatal=True,
            what=f"the tokenizer cannot say {', '.join(lost)}: it decodes {FORMAT_SAMPLE!r} as {decoded!r}",
            remedy="mark these tokens as not special in tokenizer.json, or take another model",
        )


def _stops(candidate: RunCandidate) -> Iterator[Finding]:
    """A template that ends turns with a token at which sampling does not stop."""
    tokenizer = candidate.tokenizer

    # Only the template in use counts: a base model may come with a chat template that this run never renders. What ends
    # the turn of the user in a prompt ends the turn of the model too.
    prompt = candidate.template(_SAMPLE_QUESTION)
    turn_ends = [token for token in END_TOKENS if token in prompt]
    if turn_ends and not any(tokenizer.raw.token_to_id(token) in tokenizer.stop_ids for token in turn_ends):
        yield Finding(
            code="stop-token-missing",
            is_fatal=True,
            what=f"the prompt ends turns with {turn_ends[0]}, but sampling stops only at {tokenizer.end}",
            remedy=f"add the id of {turn_ends[0]} to eos_token_id in generation_config.json",
        )
