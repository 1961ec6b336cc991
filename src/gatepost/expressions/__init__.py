"""Expressions: CEL, compiled once when the configuration is loaded, evaluated at every exchange.

    text ─templates─► CEL ─runtime─► checked tree ─nodes─► Program.evaluate(env)
                            (types, names)         │       Program.evaluate_json(env)
                                                   └► a path, a comparison, a literal: plain Python, under 1 µs
                                                      anything else: Google's CEL runtime, 5 µs and its input

- `program.py`    `compile_expression`, `compile_template` and the `Program` they make. Start here.
- `variables.py`  the names that expressions may use, and their values for one exchange.
- `message.py`    the names for endpoints' expressions (`filter`, `transform`), and their values for one message.
- `payload.py`    `Json`: a body that is decoded at most once, and whose bytes can be passed on as they came.
- `templates.py`  finds the `${…}` in a text.
- `builder.py`    chooses a node or the runtime for each part of an expression.
- `syntax.py`     the checked tree of an expression, as the runtime hands it out.
- `nodes.py`      the parts of an expression that need no runtime.
- `runtime.py`    the CEL runtime: compiling, error messages, bounds.
"""

from gatepost.expressions.payload import Json
from gatepost.expressions.program import Program, compile_expression, compile_template
from gatepost.expressions.variables import EXCHANGE_VARIABLES, REQUEST_VARIABLES, ExchangeEnvironment

__all__ = [
    "EXCHANGE_VARIABLES",
    "REQUEST_VARIABLES",
    "ExchangeEnvironment",
    "Json",
    "Program",
    "compile_expression",
    "compile_template",
]
