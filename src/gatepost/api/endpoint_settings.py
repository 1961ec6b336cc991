"""What an endpoint may ask for beyond Svix's fields: `settings`, an object with the names of `model.EndpointSettings`.

Everything that can be wrong is told when it is saved: expressions are compiled, URLs and certificates looked at. What
is secret in them is shown as `(kept)`; written back like that, it stays what it was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from pydantic import Field

from gatepost.api.endpoint_headers import sensitive
from gatepost.api.errors import Fault, Unprocessable
from gatepost.config.destinations import DestinationDecl
from gatepost.destinations.chosen import destination_fault
from gatepost.destinations.headers import fault as header_fault
from gatepost.errors import ExpressionError
from gatepost.expressions.message import MESSAGE_VARIABLES, compile_filter, compile_transform
from gatepost.expressions.program import compile_expression
from gatepost.model import Basic, Bearer, ClientCertificate, ClientCredentials, EndpointSettings

KEPT: Final = "(kept)"
DAY: Final = 86_400.0
LONGEST_TRIES: Final = 30 * DAY  # seconds that a schedule or a deadline may reach
MOST_TRIES: Final = 100
MOST_TYPES: Final = 100
MOST_OPTIONS: Final = 20
MOST_BATCHED: Final = 1_000  # messages
MOST_BYTES: Final = 4_194_304
LONGEST_WAIT: Final = 300.0  # seconds
MOST_AT_ONCE: Final = 1_000

Settings: TypeAlias = Annotated[
    dict[str, Any] | None,
    Field(
        description="Filter, transform, batching, schedule, ordering, signing, auth, destination: see docs/api.md. "
        "What is absent stays as it is, null goes back to the default.",
        examples=[{"filter": "payload.total > 100", "payload": "thin"}],
    ),
]

_SECRET: Final[dict[type, tuple[str, ...]]] = {
    Basic: ("password",),
    Bearer: ("token",),
    ClientCredentials: ("client_secret",),
    ClientCertificate: ("key",),
}
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}").fullmatch
_ENDS: Final = ("id", "timestamp", "signature")
# Where a message of the decoder names the place: "… - at `$.batch.messages`".
_PLACE: Final = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL).fullmatch


def changed(
    before: EndpointSettings,
    wanted: dict[str, Any] | None,
    *,
    check_url: Callable[[str], None],
    destinations: Mapping[str, DestinationDecl],
) -> EndpointSettings:
    """`before` with what is wanted. Raises Unprocessable with every fault. `check_url` raises it for a URL that may not
    be connected to."""
    if not wanted:
        return before
    whole = cast("dict[str, Any]", msgspec.to_builtins(before))
    for name, value in wanted.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = value
    _restore(whole, before)
    try:
        after = msgspec.convert(whole, EndpointSettings)
    except msgspec.ValidationError as error:
        raise Unprocessable(_of_decoder(str(error))) from None
    faults = [Fault(("body", "settings", *place.split(".")), reason) for place, reason in _faults(after, destinations)]
    if faults:
        raise Unprocessable(*faults)
    if isinstance(after.auth, ClientCredentials):
        check_url(after.auth.token_url)
    return after


def shown(settings: EndpointSettings) -> dict[str, Any]:
    """What is asked for, without secrets."""
    out = cast("dict[str, Any]", msgspec.to_builtins(settings))
    if settings.auth is not None:
        out["auth"].update(dict.fromkeys(_SECRET[type(settings.auth)], KEPT))
    if settings.options:
        out["options"] = {name: KEPT if sensitive(name) else value for name, value in settings.options.items()}
    return out


def _restore(whole: dict[str, Any], before: EndpointSettings) -> None:
    """Put what is `(kept)` back."""
    auth = whole.get("auth")
    if isinstance(auth, dict) and before.auth is not None:
        old = msgspec.to_builtins(before.auth)
        if auth.get("kind") == old["kind"]:
            whole["auth"] = {
                name: old[name] if value == KEPT and name in _SECRET[type(before.auth)] else value
                for name, value in auth.items()
            }
    options = whole.get("options")
    if isinstance(options, dict):
        whole["options"] = {
            name: before.options.get(name, value) if value == KEPT else value for name, value in options.items()
        }


def _of_decoder(message: str) -> Fault:
    match = _PLACE(message)
    reason, place = (match[1], match[2]) if match is not None else (message, "")
    return Fault(("body", "settings", *filter(None, place.split("."))), reason, "type_error")


def _faults(s: EndpointSettings, destinations: Mapping[str, DestinationDecl]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def check(place: str, holds: bool, reason: str) -> None:
        if not holds:
            found.append((place, reason))

    for name, text, compiling in (
        ("filter", s.filter, compile_filter),
        ("transform", s.transform, compile_transform),
        ("ordering", "" if s.ordering == "endpoint" else s.ordering, _compile_ordering),
    ):
        if text:
            try:
                compiling(text)
            except ExpressionError as error:
                check(name, False, str(error))
    check("transform", not (s.transform and s.payload == "thin"), "a thin payload is not transformed: choose one")
    if s.batch is not None:
        check("batch.messages", 1 <= s.batch.messages <= MOST_BATCHED, f"must be from 1 to {MOST_BATCHED}")
        check("batch.bytes", 1 <= s.batch.bytes <= MOST_BYTES, f"must be from 1 to {MOST_BYTES}")
        check("batch.wait", 0 <= s.batch.wait <= LONGEST_WAIT, f"must be from 0 to {LONGEST_WAIT:g} seconds")
    _check_tries("", s.schedule, s.deadline, check)
    check("types", len(s.types) <= MOST_TYPES, f"at most {MOST_TYPES} event types")
    for event_type, retrying in s.types.items():
        _check_tries(f"types.{event_type}.", retrying.schedule, retrying.deadline, check)
    if s.concurrency is not None:
        check("concurrency", 1 <= s.concurrency <= MOST_AT_ONCE, f"must be from 1 to {MOST_AT_ONCE}")
    prefix = s.signing.prefix
    check(
        "signing.prefix",
        prefix == "webhook"
        or (_PREFIX(prefix) is not None and all(header_fault(f"{prefix}-{end}", "x") is None for end in _ENDS)),
        "must be the beginning of a header name of your own: small letters, digits and -",
    )
    fault = destination_fault(s.destination, destinations)
    check("destination", fault is None, fault or "")
    check("options", len(s.options) <= MOST_OPTIONS, f"at most {MOST_OPTIONS}")
    if s.auth is not None:
        for name in _SECRET[type(s.auth)]:
            check(f"auth.{name}", getattr(s.auth, name) not in ("", KEPT), "is needed: nothing is kept")
    if isinstance(s.auth, ClientCertificate):
        _check_certificate(s.auth, check)
    return found


def _check_tries(
    where: str,
    schedule: tuple[float, ...] | None,
    deadline: float | None,
    check: Callable[[str, bool, str], None],
) -> None:
    if schedule is not None:
        check(f"{where}schedule", len(schedule) <= MOST_TRIES, f"at most {MOST_TRIES} tries")
        check(
            f"{where}schedule",
            all(math.isfinite(each) and each >= 0 for each in schedule) and sum(schedule) <= LONGEST_TRIES,
            "seconds between tries, not less than 0, and 30 days together",
        )
    if deadline is not None:
        check(f"{where}deadline", 1 <= deadline <= LONGEST_TRIES, "must be from a second to 30 days")


def _check_certificate(auth: ClientCertificate, check: Callable[[str, bool, str], None]) -> None:
    try:
        certificate = load_pem_x509_certificates(auth.certificate.encode())[0]
    except ValueError:
        check("auth.certificate", False, "is no certificate in PEM")
        return
    try:
        key = load_pem_private_key(auth.key.encode(), None)
    except (ValueError, TypeError):
        check("auth.key", False, "is no private key in PEM without a password")
        return
    check("auth.key", key.public_key() == certificate.public_key(), "is not the certificate's")


def _compile_ordering(text: str) -> object:
    return compile_expression(text, variables=MESSAGE_VARIABLES, result="any")
