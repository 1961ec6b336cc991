"""Plain Python and the CEL runtime must agree: whatever `nodes.py` evaluates is held against the runtime here."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatepost.errors import ExpressionError
from gatepost.expressions import compile_expression, runtime
from gatepost.expressions.payload import encode

VARIABLES: dict[str, runtime.Type] = {
    "x": "json",
    "y": "json",
    "r.status": "int",
    "r.headers": "strings",
    "r.name": "string",
}

FAILS = object()
KEYS = ["a", "b", "é", "a.b", "1"]
PLAIN = st.sampled_from(["", "a", "ab", "b", "é", "1", "true", "\U0001f600"])  # few, so that equals meet
NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 201, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1]
) | st.integers(-3, 3)
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0**53, 2.0**53 + 2, 2.0**63, 1e300, -1.5, math.inf, math.nan])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, FLOATS, PLAIN)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS), below, max_size=3),
    max_leaves=6,
)


def literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}u" if value >= 2**63 else str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "1.5"
    return "'" + value + "'"


LITERALS = SCALARS.map(literal)
STEPS = st.one_of(
    st.sampled_from([".a", ".b"]),
    st.sampled_from(KEYS).map(lambda key: f"['{key}']"),
    st.sampled_from([0, 1, 2, -1]).map(lambda index: f"[{index}]"),
)
# Mostly of no known type, so that the types refuse little and the values decide.
DYNAMIC = st.tuples(st.sampled_from(["x", "x", "y"]), st.lists(STEPS, max_size=3)).map(lambda p: p[0] + "".join(p[1]))
TEXTS = st.sampled_from(["r.name", "r.headers.a", "r.headers['b']"])
ORDERS = st.sampled_from(["<", "<=", ">", ">="])
EQUALITIES = st.sampled_from(["==", "!="])
ORDERED = st.one_of(NUMBERS, FLOATS, PLAIN).map(literal)
SAMPLE = PLAIN.map(literal)


def evenly(*kinds: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One kind as often as another, however many branches each has."""
    return st.sampled_from(range(len(kinds))).flatmap(lambda place: kinds[place])


COMPARISONS = evenly(
    st.tuples(DYNAMIC, EQUALITIES, LITERALS).map(" ".join),
    st.tuples(LITERALS, EQUALITIES, DYNAMIC).map(" ".join),
    st.tuples(DYNAMIC, ORDERS, ORDERED).map(" ".join),
    st.tuples(ORDERED, ORDERS, DYNAMIC).map(" ".join),
    st.tuples(TEXTS, EQUALITIES | ORDERS, SAMPLE).map(" ".join),
    st.tuples(st.just("r.status"), EQUALITIES | ORDERS, st.sampled_from(["200", "201", "404", "201.5"])).map(" ".join),
    st.tuples(DYNAMIC | TEXTS, st.lists(SAMPLE, min_size=1, max_size=3)).map(
        lambda p: f"{p[0]} in [{', '.join(p[1])}]"
    ),
    st.tuples(SAMPLE, DYNAMIC | st.just("r.headers")).map(" in ".join),
    st.tuples(DYNAMIC | TEXTS, st.sampled_from(["startsWith", "endsWith", "contains"]), SAMPLE).map(
        lambda p: f"{p[0]}.{p[1]}({p[2]})"
    ),
    st.tuples(DYNAMIC | st.just("r.headers"), st.sampled_from("ab")).map(lambda p: f"has({p[0]}.{p[1]})"),
)
# What only the runtime evaluates, so that both kinds meet in one expression.
OTHERS = st.sampled_from(["size(x) > 1", "[x, y].exists(i, i == 1)", "string(x) == '1'", "type(x) == int", "x == y"])
CONDITIONS = st.recursive(
    evenly(COMPARISONS, COMPARISONS, OTHERS, DYNAMIC),
    lambda below: evenly(
        st.tuples(below, st.sampled_from(["&&", "||"]), below).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})"),
        below.map(lambda e: f"!({e})"),
        st.tuples(below, below, below).map(lambda p: f"({p[0]}) ? ({p[1]}) : ({p[2]})"),
    ),
    max_leaves=4,
)
# Bodies of loops: about the item `i`, and about what is outside.
ITEMS = evenly(
    st.sampled_from(
        [
            "i",
            "i.a",
            "i['b']",
            "i[0]",
            "{'k': i, 'j': y}",
            "[i, r.status]",
            "i + 1",
            "[i].map(j, j)",
            "i.map(j, [i, j, x])",
        ]
    ),
    CONDITIONS,
    DYNAMIC,
)
TESTS = evenly(st.sampled_from(["i == 1", "has(i.a)", "i > 0 || y == 1", "size([i]) == 1", "i in ['a']"]), CONDITIONS)
RANGES = DYNAMIC | st.sampled_from(["[1, 'a', {'a': 1}]", "x", "r.headers", "[x, y]", "[1, 2].filter(i, i > 1)"])
LOOPS = evenly(
    st.tuples(RANGES, ITEMS).map(lambda p: f"{p[0]}.map(i, {p[1]})"),
    st.tuples(RANGES, TESTS).map(lambda p: f"{p[0]}.filter(i, {p[1]})"),
    st.tuples(RANGES, TESTS, ITEMS).map(lambda p: f"{p[0]}.map(i, {p[1]}, {p[2]})"),
    st.tuples(DYNAMIC, ITEMS).map(lambda p: f"{p[0]}.map(x, {p[1].replace('i', 'x') if len(p[1]) < 8 else p[1]})"),
)
EXPRESSIONS = evenly(
    LOOPS,
    LOOPS,
    COMPARISONS,
    CONDITIONS,
    CONDITIONS,
    DYNAMIC,
    st.tuples(DYNAMIC | TEXTS, SAMPLE).map(" + ".join),
    st.tuples(CONDITIONS, DYNAMIC, DYNAMIC).map(lambda p: f"({p[0]}) ? {p[1]} : {p[2]}"),
    st.lists(CONDITIONS | DYNAMIC | LITERALS, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
    st.lists(CONDITIONS | DYNAMIC | LITERALS, max_size=3).map(
        lambda values: "{" + ", ".join(f"'{key}': {value}" for key, value in zip("zab", values, strict=False)) + "}"
    ),
)


def outcome(evaluate: Any, env: dict[str, Any]) -> Any:
    try:
        return evaluate(env)
    except ExpressionError:
        return FAILS


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def unordered(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(sorted(map(unordered, value))) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{key}: {unordered(item)}" for key, item in value.items())) + "}"
    return repr(value)


def has_order(value: Any) -> bool:
    """A loop over an object of several keys has none in CEL (the runtime's is random)."""
    if isinstance(value, dict):
        return len(value) < 2 and all(map(has_order, value.values()))
    return not isinstance(value, list) or all(map(has_order, value))


@settings(max_examples=1_000, deadline=None)
@given(
    EXPRESSIONS,
    VALUES,
    VALUES,
    st.sampled_from([200, 201, 404]),
    st.dictionaries(st.sampled_from("ab"), PLAIN),
    PLAIN,
)
@example("x.map(x, .x == x)", [1], None, 0, {}, "")
@example("x == 1", True, None, 0, {}, "")
@example("x == 9007199254740992.0", 2**53 + 1, None, 0, {}, "")
@example("x.a || true", {}, None, 0, {}, "")
@example("x && false", 1, None, 0, {}, "")
@example("false && x", 1, None, 0, {}, "")
@example("x[-1]", [1], None, 0, {}, "")
@example("x['1']", [1, 2], None, 0, {}, "")
@example("has(x.a)", [], None, 0, {}, "")
@example("'a' in x", "abc", None, 0, {}, "")
@example("x < 'b'", "é", None, 0, {}, "")
def test_python_answers_what_the_runtime_answers(
    text: str, x: Any, y: Any, status: int, headers: dict[str, str], name: str
) -> None:
    env = {"x": x, "y": y, "r.status": status, "r.headers": headers, "r.name": name}
    try:
        program = compile_expression(text, variables=VARIABLES)
    except ExpressionError:
        return  # the runtime itself checks; see test_the_two_ways_differ_only_where_it_is_meant
    source = runtime.check(text, VARIABLES)
    reference = runtime.Evaluation(source.whole(), [(name, ()) for name in program.references], 0)
    ours, theirs = outcome(program.evaluate, env), outcome(reference.value, env)
    if has_order([x, y, headers]):
        assert same(ours, theirs), (ours, theirs)
    else:
        assert unordered(ours) == unordered(theirs)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, VALUES)
def test_the_json_of_a_value_is_the_value(text: str, x: Any) -> None:
    env = {"x": x, "y": None, "r.status": 201, "r.headers": {"a": "b"}, "r.name": "n"}
    try:
        program = compile_expression(text, variables=VARIABLES)
    except ExpressionError:
        return
    value = outcome(program.evaluate, env)
    written = outcome(program.evaluate_json, env)
    if value is FAILS:
        assert written is FAILS
    else:
        assert written == outcome(lambda _: encode(value), env)


def test_the_two_ways_differ_only_where_it_is_meant() -> None:
    """An integer beyond 64 bits passes through a path; the runtime knows none."""
    program = compile_expression("x.a", variables=VARIABLES)
    assert program.evaluate({"x": {"a": 2**80}}) == 2**80
    with pytest.raises(ExpressionError, match="64 bits"):
        compile_expression("x.a + 1", variables=VARIABLES).evaluate({"x": {"a": 2**80}})
