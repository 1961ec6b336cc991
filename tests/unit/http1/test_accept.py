"""RFC 9110 §12.5.1."""

from __future__ import annotations

import pytest

from gatepost.http1.accept import preferred

OFFERS = (b"application/problem+json", b"text/html", b"application/json")
BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        (b"", b"application/problem+json"),
        (b" , ", b"application/problem+json"),
        (b"*/*", b"application/problem+json"),
        (b"text/*", b"text/html"),
        (b"Text/HTML", b"text/html"),
        (BROWSER, b"text/html"),
        (b"application/json", b"application/json"),
        (b"application/json;q=0.5, text/html;q=0.4", b"application/json"),
        (b"application/json; charset=utf-8; q=0.5, text/html;q=0.6", b"text/html"),
        (b"text/html;q=0, */*", b"application/problem+json"),
        (b"*/*, application/problem+json;q=0", b"text/html"),  # the more specific range counts
        (b"application/*;q=0.2, application/json;q=0.9, text/html;q=0.8", b"application/json"),
        (b"text/html;q=2", None),
        (b"text/html;q=0.1234", None),
        (b"text/html;q=x", None),
        (b"text/html; Q=0.3, application/json;q=0.2", b"text/html"),
        (b"image/png", None),
        (b"text/html;q=0", None),
        (b"text/html;q=0.000, text/html", None),
        (b"*", None),
    ],
)
def test_the_offer_that_is_liked_best(accept: bytes, best: bytes | None) -> None:
    assert preferred(accept, OFFERS) == best


def test_a_flood_of_ranges_is_looked_at_no_further() -> None:
    assert preferred(b"image/png," * 10_000 + b"text/html", OFFERS) is None


def test_without_offers_there_is_nothing_to_like() -> None:
    assert preferred(b"", ()) is None
