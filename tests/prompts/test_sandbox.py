"""Templates that try to escape, to run forever or to fill the memory."""

import resource
import time

import pytest

from declarlm.core import ConfigError, DataError
from declarlm.prompts import Prompt, check_prompt
from declarlm.prompts.budget import budget
from declarlm.prompts.prompt import compile_prompt
from declarlm.prompts.sandbox import TEMPLATE_ERRORS, Sandbox

DOUBLE = "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
TUPLES = DOUBLE.replace("[ns.x, ns.x]", "(ns.x, ns.x)").replace("[1]", "(1,)")
TEXT = "{% set ns = namespace(s='aaaaaaaaaa') %}{% for i in range(40) %}"
NUMBER = "{% set ns = namespace(x=10) %}"
BIG = "{% set big = 'a' * 1000000 %}{% for i in range(90000) %}"
ATTACKS = {
    "long loop": "{% for i in range(1000000) %}{% endfor %}",
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "nested lists": "{% set x = ('a' * 1000) | list %}" + "{% for a in x %}" * 5 + "{% endfor %}" * 5,
    "repetition": "{{ ('a' * 1000000000) | length }}",
    "list repetition": "{{ ([1] * 100000000) | length }}",
    "power": "{{ (10 ** (10 ** 7)) | string | length }}",
    "large integers": NUMBER + "{% for i in range(90000) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "percent format": "{{ '%1000000000d' % 1 }}",
    "format filter": "{{ '%1000000000d' | format(1) | length }}",
    "format method": "{{ '{:>1000000000}'.format('x') | length }}",
    "mapped format": "{{ ['{:>100000000}'] | map('format', 1) | list | length }}",
    "centre": "{{ 'x' | center(1000000000) | length }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "expandtabs": "{{ ('\t' * 100000).expandtabs(100000) }}",
    "indent": "{{ ('a\n' * 1000) | indent(1000000) | length }}",
    "json indent": "{{ [[[1]]] | tojson(indent=100000000) }}",
    "urlize": "{{ ('www.' + 'a.' * 50000) | urlize | length }}",
    "striptags": "{{ ('<' * 200000) | striptags | length }}",
    "wordwrap": "{{ ('a ' * 200000) | wordwrap(1) | length }}",
    "doubling +": TEXT + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "doubling ~": TEXT + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "doubling list": "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubling block": TEXT + "{% set v %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = v %}{% endfor %}",
    "replace filter": "{{ ('a' * 1000000) | replace('a', 'b' * 1000) | length }}",
    "replace method": "{{ ('a' * 1000000).replace('a', 'b' * 1000) | length }}",
    "replace nothing": "{{ ('a' * 1000000).replace('', 'b' * 1000) | length }}",
    "join filter": "{% set x = ('a' * 100000) | list %}{{ x | join('b' * 100000) | length }}",
    "join method": "{{ ('b' * 100000).join(('a' * 100000) | list) | length }}",
    "join of one": "{{ ['a' * 1000000] | list * 100000 | join | length }}",
    "output": BIG + "{{ big }}{% endfor %}",
    "block output": "{% set v %}" + BIG + "{{ big }}{% endfor %}{% endset %}",
    "upper": BIG + "{{ big | upper | length }}{% endfor %}",
    "slice": BIG + "{{ big[1:] | length }}{% endfor %}",
    "search": BIG + "{{ 'b' in big }}{% endfor %}",
    "deep text": DOUBLE + "{{ ns.x | string | length }}",
    "deep namespace": DOUBLE + "{{ ns | string | length }}",
    "deep equal": DOUBLE + "{{ ns.x == [ns.x[0], ns.x[1]] }}",
    "deep test": DOUBLE + "{{ ns.x is eq(ns.x) }}",
    "deep in": DOUBLE + "{{ ns.x in [[1]] }}",
    "deep print": DOUBLE + "{{ ns.x }}",
    "deep join": DOUBLE + "{{ ns.x ~ '' }}",
    "deep key": TUPLES + "{{ {ns.x: 1} | length }}",
    "deep item": TUPLES + "{% set d = {} %}{{ d[ns.x] }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "deep source": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "long source": "a" * 100_000,
    "class": "{{ ''.__class__.__mro__ }}",
    "class by attr": "{{ ('' | attr('__class__')).x }}",
    "class by format": "{{ '{0.__class__}'.format('') }}",
    "class by map": "{{ ([''] | map(attribute='__class__') | first).x.y }}",
    "globals": "{{ dict.__globals__.os }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "lipsum": "{{ lipsum.__globals__['os'] }}",
    "namespace": "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "autoescape": "{% autoescape true %}{{ 1 }}{% endautoescape %}",
    "mutation": "{% set x = [1] %}{{ x.append(2) }}",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_fails_soon_and_small(attack: str) -> None:
    sandbox = Sandbox(keep_trailing_newline=True)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(TEMPLATE_ERRORS):  # noqa: PT012
        with budget():
            template = sandbox.from_string(ATTACKS[attack])
        sandbox.run(template, {})
    assert time.monotonic() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_attack_in_a_config_is_a_problem_or_an_error_of_the_row() -> None:
    for source in ATTACKS.values():
        prompt = Prompt(template=source + "{{ x }}", syntax="jinja")
        with pytest.raises((ConfigError, DataError)):  # whichever of the two steps sees it
            compile_prompt(prompt, ["x"], ["label"], [], ["x"]).template.render({"x": "a"}, 0)


def test_limits_are_named() -> None:
    prompt = Prompt(
        template="{{ x }}{% for i in range(99999) %}{{ i * 2 }}{% for j in range(9) %}{% endfor %}{% endfor %}"
    )
    template = compile_prompt(prompt, ["x"], ["label"], [], ["x"]).template
    with pytest.raises(DataError) as caught:
        template.render({"x": "a"}, 3)
    assert str(caught.value) == "row 3: the prompt cannot be made: the template runs for more than 200,000 steps"
    problems = check_prompt(Prompt(template="{{ x }}" + "a" * 100_000), ["x"], ["label"], ["x"])
    assert [str(problem) for problem in problems] == [
        "prompt.template: as a Jinja template, is longer than 64,000 characters"
    ]


def test_long_cells_are_no_attack() -> None:
    prompt = Prompt(template="{{ x | upper }}{{ x }}")
    template = compile_prompt(prompt, ["x"], ["label"], [], ["x"]).template
    assert sum(len(segment.text) for segment in template.render({"x": "a" * 5_000_000}, 0)) == 10_000_000
