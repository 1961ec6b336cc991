"""Patterns with captures over a normalised path, matched in linear time.

    /reports/{year:[0-9]}-{name}.pdf      {year} is digits, {name} ends at the next `.`
    /old/{rest...}                        {rest} is everything behind /old/, slashes too

A capture ends where the character that follows it in the pattern comes first, or at the end of its segment: so there is
one way at most to match a path, nothing to go back to, and no path that takes longer than its length. That is why these
are not regular expressions (docs/decisions/0050-path-patterns.md).
"""

from __future__ import annotations

import re
from typing import Final

from gatepost.errors import ProtocolError
from gatepost.http1.targets import normalise


def compile_pattern(text: str) -> re.Pattern[str]:
    """Use its `fullmatch`; the captures are its named groups. Raises ValueError with a sentence for the author."""
    out: list[str] = []
    plain: list[str] = []  # the pattern with an `x` for each capture: what a path like it looks like
    names: set[str] = set()
    at = 0
    for capture in _CAPTURE.finditer(text):
        before = text[at : capture.start()]
        if not before:
            raise ValueError(f"two captures touch at {capture[0]}: put a character between them")
        name, kind, characters = capture[1], capture[2], capture[3]
        if name in names:
            raise ValueError(f"has the capture {name} twice; give each its own name")
        names.add(name)
        at = capture.end()
        following = text[at : at + 1]
        out.append(re.escape(before))
        plain += (before, "x")
        if kind == "...":
            if following or not before.endswith("/"):
                raise ValueError(f"{capture[0]} may stand only at the end, behind a /")
            out.append(f"(?P<{name}>.*+)")
        elif characters:
            stop = f"(?!{re.escape(following)})" if following else ""
            out.append(f"(?P<{name}>(?:{stop}[{characters}])++)")
        else:
            out.append(f"(?P<{name}>[^/{re.escape(following)}]++)")
    out.append(re.escape(text[at:]))
    plain.append(text[at:])
    _check_path("".join(plain))
    return re.compile("".join(out))


def _check_path(example: str) -> None:
    if "{" in example or "}" in example:
        raise ValueError("must write captures as {name}, {name:[a-z0-9]} or, at the end, {name...}")
    try:
        normal = normalise(example.encode())
    except ProtocolError as error:
        raise ValueError(f"is no path: {error.problem.detail}") from None
    if normal != example:
        raise ValueError("is not written as paths are after normalisation, so that nothing could match it")


# A class is letters, digits, `-._~` and ranges of them: nothing that has a meaning of its own inside the brackets.
_CAPTURE: Final = re.compile(r"\{([A-Za-z_]\w*)(\.\.\.|:\[((?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9._~])+-?)\])?\}")
