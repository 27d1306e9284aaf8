"""Chat templates say what they say in transformers (tests/parity), and a hostile one fails with one clear error."""

import time

import pytest
from tiny import letters_tokenizer

from aha.prompts.chat import chat
from aha.prompts.templates import CHAT_TEMPLATES, Template, r1, r1_zero


def rendering(source: str, **given: object) -> Template:
    return chat(letters_tokenizer().with_chat_template(source), **given)  # type: ignore[arg-type]  # tests


@pytest.mark.parametrize("question", ["1 + 1", "从 7 23", "what is {{ x }} {% y %}", "  blanks \n", ""])
def test_our_own_templates_are_what_their_jinja_says(question: str) -> None:
    assert rendering(CHAT_TEMPLATES["r1_zero"])(question) == r1_zero(question)
    assert rendering(CHAT_TEMPLATES["r1"])(question) == r1(question)


def test_a_template_sees_messages_tokens_and_options() -> None:
    source = (
        "{% for m in messages %}[{{ m.role }}:{{ m['content'] }}{{ loop.index }}/{{ loop.length }}]{% endfor %}"
        "{{ eos_token }}{{ pad_token }}{{ bos_token }}{{ add_generation_prompt }}{{ tools is none }}{{ mood }}"
    )
    shown = rendering(source, system="be", options={"mood": "!"})("why")
    assert shown == "[system:be1/2][user:why2/2]<eos><pad>TrueTrue!"


def test_blocks_are_trimmed_and_generation_marks_nothing() -> None:
    source = (
        "{% for m in messages %}\n    {% if true %}\n a{% generation %}b{% endgeneration %}\n{% endif %}{% endfor %}"
    )
    assert rendering(source)("q") == " ab"


def test_loops_may_break() -> None:
    assert rendering("{% for x in range(9) %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}")("q") == "01"


def test_json_is_not_escaped() -> None:
    assert rendering("{{ messages | tojson }}")("<é>") == '[{"role": "user", "content": "<é>"}]'


def test_the_date_is_the_same_on_every_day() -> None:
    assert rendering("{{ strftime_now('%d %b %Y') }}")("q") == "26 Jul 2024"


def test_a_prompt_does_not_depend_on_the_one_before() -> None:
    template = rendering("{% for x in range(60000) %}{% endfor %}{{ messages[0].content }}")
    assert [template(question) for question in "abc"] == ["a", "b", "c"]


HOSTILE = {
    "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "endless over text": "{% set x = 'x' * 1000 %}{% for a in x %}{% for b in x %}{% for c in x %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "recursive loop": "{% for i in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "product": "{{ 'a' * 10000000000 }}",
    "numbers": "{% set n = namespace(x=7) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    "joined": "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "added": "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "nested": "{% set n = namespace(x=['ab']) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x }}",
    "replaced": "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x|replace('a', 'aaaa') %}"
    "{% endfor %}",
    "replaced by a method": "{{ ('a' * 900000).replace('a', 'b' * 900000) }}",
    "list of one": "{{ (['b' * 900000] * 900000) | join }}",
    "centred": "{{ 'a' | center(10000000000) }}",
    "justified": "{{ 'a'.ljust(10000000000) }}",
    "indented": "{{ 'a\nb' | indent(10000000000) }}",
    "percent": "{{ '%10000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (10000000, 1) }}",
    "format": "{{ '{:10000000000}'.format(1) }}",
    "format of a format": "{{ '{:{}}'.format(1, 10000000000) }}",
    "filter format": "{{ '%10000000000d' | format(1) }}",
    "written": "{% for i in range(99) %}{{ 'a' * 900000 }}{% endfor %}",
    "json": "{{ messages | tojson(indent=10000000000) }}",
    "class": "{{ ''.__class__.__mro__ }}",
    "globals": "{{ raise_exception.__globals__['json'] }}",
    "format of a class": "{{ '{0.__class__.__mro__[1].__subclasses__}'.format(1) }}",
    "attribute": "{{ (messages | map(attribute='__class__') | first).mro() }}",
    "change": "{{ messages.append(1) }}",
    "include": "{% include '/etc/passwd' %}",
    "exception": "{{ raise_exception('roles must alternate') }}",
    "division": "{{ 1 / 0 }}",
    "nothing": "{{ unheard_of.thing }}",
}


@pytest.mark.full
@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_fails_soon(source: str) -> None:
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"chat_template\.jinja of the checkpoint fails \(.*correct it"):
        rendering(source)("q")
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "source",
    ["{% if %}", "{{ 'a'", "{% for x in y %}", "{{ 'a' | wordwrap(1) }}", "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}"],
)
def test_a_template_that_is_none_is_refused_at_once(source: str) -> None:
    with pytest.raises(ValueError, match=r"chat_template\.jinja of the checkpoint cannot be understood"):
        rendering(source)


def test_an_endless_template_is_refused() -> None:
    with pytest.raises(ValueError, match=r"chat_template\.jinja of the checkpoint has 300000 characters"):
        rendering("a" * 300_000)
