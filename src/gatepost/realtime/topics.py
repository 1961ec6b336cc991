"""Topics: `/{app}` and a channel of that app, `/shop/orders/12345`.

A subscription names its topics one by one, so that each can be resumed from the store. What may be subscribed to is
said by **selectors**, in the configuration (`live.public`) and in tokens:

    /shop/orders/12345     this topic
    /shop/orders/{id}      any one segment in this place
    /shop/*                everything below

A selector always names its app: none opens the channels of all apps at once.
"""

from __future__ import annotations

from typing import Final, NamedTuple

LONGEST: Final = 512  # characters of a topic


class Topic(NamedTuple):
    app: str  # `app_…` or uid
    channel: str


def parse_topic(text: str) -> Topic:
    """Raises ValueError with a sentence for who subscribes."""
    if len(text) > LONGEST:
        raise ValueError(f"a topic has at most {LONGEST} characters")
    if "*" in text or "{" in text:
        raise ValueError(f"{text} is no topic but a pattern; name each topic")
    app, slash, rest = text[1:].partition("/")
    if not (text.startswith("/") and app and slash and rest):
        raise ValueError(f"{text or 'an empty text'} is no topic; write /app/channel, like /shop/orders/12345")
    return Topic(app, "/" + rest)


class Selector:
    """Names topics, by the rules above."""

    __slots__ = ("_open", "_segments")

    def __init__(self, text: str) -> None:
        """Raises ValueError with a sentence for who wrote the selector."""
        start, *segments = text.split("/")
        if start or len(segments) < 2 or not all(segments):
            raise ValueError(f"{text!r} is no topic; write /app/channel, like /shop/orders/{{id}} or /shop/*")
        self._open = segments[-1] == "*"
        if self._open:
            segments.pop()
        if _is_pattern(segments[0]):
            raise ValueError(f"{text!r} must name its app: /shop/…, not a pattern")
        for segment in segments:
            if _is_pattern(segment) and not (segment[0] == "{" and segment[-1] == "}" and len(segment) > 2):
                raise ValueError(f"{text!r}: {{name}} stands for a whole segment, and * only at the end")
        self._segments = [None if _is_pattern(segment) else segment for segment in segments]

    def matches(self, topic: str) -> bool:
        start, *segments = topic.split("/")
        wanted = self._segments
        if start or (len(segments) <= len(wanted) if self._open else len(segments) != len(wanted)):
            return False
        for segment, want in zip(segments, wanted, strict=False):
            if segment != want and (want is not None or not segment):
                return False
        return not self._open or any(segments[len(wanted) :])


def _is_pattern(segment: str) -> bool:
    return any(character in segment for character in "{}*")
