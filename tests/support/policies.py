"""Policies as the file declares them, and exchanges that meet one of them."""

from __future__ import annotations

import json
from typing import Any

from tests.support.exchanges import make_exchange

from gatepost.clock import Clock, SystemClock
from gatepost.config.loading import load_text
from gatepost.exchange import Exchange, Policy, Response
from gatepost.http1.messages import Fields
from gatepost.notices import SILENT, Facts, Notices
from gatepost.policies import build_policy
from gatepost.policies.base import PolicyContext
from gatepost.policies.states import States
from gatepost.stores.access import Access


def declared(name: str, settings: Any, *, notices: Notices = SILENT, clock: Clock | None = None) -> Policy:
    """The policy of this name and settings, read by the loader. Raises ConfigError and SettingFault."""
    document = {
        "services": {name: {"targets": ["http://127.0.0.1:9000"]} for name in ("orders", "orders-v2")},
        "routes": {"orders": {"match": {"path": "/*"}, "service": "orders", "policies": [{name: settings}]}},
    }
    config = load_text(json.dumps(document)).config
    context = PolicyContext("orders", Access(), States(), notices=notices, clock=clock or SystemClock())
    return build_policy(config.routes["orders"].policies[0], context)


def asked(
    policy: Policy,
    method: str = "GET",
    target: str = "/orders",
    fields: Fields | None = None,
    body: bytes = b"",
    **options: Any,
) -> tuple[Exchange, Response | None]:
    """An exchange that met the policy on its way in, and what that answered."""
    x, _ = make_exchange(method, target, fields, body, policies=(policy,), **options)
    for step in x.route.on_request:
        answer = step(x)
        if answer is not None:
            assert isinstance(answer, Response)
            return x, answer
    return x, None


def passed(policy: Policy, method: str = "GET", target: str = "/orders", *args: Any, **options: Any) -> Exchange:
    x, answer = asked(policy, method, target, *args, **options)
    assert answer is None, answer
    return x


def answered(x: Exchange, fields: Fields | None = None, status: int = 200) -> Fields:
    """The fields that the client gets where the service says `fields`."""
    x.status = status
    x.response_fields = fields if fields is not None else [(b"content-type", b"text/plain")]
    for step in x.route.on_response:
        step(x)
    return x.response_fields


def refusal(answer: Response | None) -> tuple[int, str]:
    assert answer is not None, "it passed"
    document = json.loads(answer.body)
    assert document["status"] == answer.status
    return answer.status, str(document["type"]).rpartition(":")[2]


def header(fields: Fields, name: str) -> str | None:
    """The values of a field, joined; None where there is none."""
    values = [value.decode() for key, value in fields if key == name.encode()]
    return ", ".join(values) if values else None


class Told:
    """Notices, written down."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, Facts]] = []

    def tell(self, event_type: str, subject: str, facts: Facts) -> None:
        self.events.append((event_type, subject, facts))
