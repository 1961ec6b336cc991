"""The control API against its own description: schemathesis reads the OpenAPI document of a real node, asks what it
says may be asked and what it says may not, and looks at every answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup
from tests.support.node import Node, address, running

from gatepost.api.paths import own

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES: Final = 8  # of each operation

load_all_checks()
HELD: Final[Any] = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "missing_required_header",
    ]
)

# What the HTTP engine refuses before the API sees it: no way to write a request, too long a target, too large a head.
ENGINE: Final = frozenset({400, 414, 431})

# What there is, made anew before each operation: half of what is asked is about these.
THERE: Final[dict[str, Any]] = {
    "/api/v1/plan": {"name": "gold", "rate_limits": {"default": {"limit": 10, "window": "1m"}}},
    "/api/v1/consumer": {"name": "partner", "plans": ["gold"], "tags": ["eu"]},
}


class Api:
    """One administrator's session with a node."""

    def __init__(self, node: Node) -> None:
        self.url = f"http://{address(node.control)}"
        self.session = requests.Session()
        self.session.trust_env = False
        self.login = {"Authorization": f"Bearer {node.token}"}
        document = self.session.get(f"{self.url}/api/v1/openapi.json", timeout=60).json()
        del document["security"]  # every question here is the administrator's; a test of its own asks without the token
        self.schema: Any = schemathesis.openapi.from_dict(document)
        self.key = ""
        self.seen: Counter[tuple[str, int]] = Counter()  # answers by operation and class of statuses

    def operations(self) -> list[Any]:
        found = [each.ok() for each in self.schema.get_all_operations()]
        return [each for each in found if own(each.path)]

    def make(self) -> None:
        for path, document in THERE.items():
            self.session.post(self.url + path, json=document, headers=self.login, timeout=60)
        made = self.session.post(f"{self.url}/api/v1/consumer/partner/key", json={}, headers=self.login, timeout=60)
        self.key = made.json()["id"]

    def known(self) -> dict[str, str]:
        return {"consumer_id": "partner", "plan": "gold", "key_id": self.key}

    def hold(self, operation: Any) -> None:
        """Raises what schemathesis finds."""
        self.make()
        names = {each.name for each in operation.path_parameters}
        known = {name: value for name, value in self.known().items() if name in names}
        strategies = [
            operation.as_strategy(generation_mode=mode, **more)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
            for more in ([{}, {"path_parameters": known}] if known else [{}])
        ]

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.one_of(strategies))
        def ask(case: Case[Any]) -> None:
            answer = case.call(base_url=self.url, session=self.session, headers=self.login, timeout=60)
            if answer.status_code in ENGINE:
                assert answer.headers["content-type"] == ["application/problem+json"]
            else:
                case.validate_response(answer, checks=HELD)
            self.seen[operation.label, answer.status_code // 100] += 1

        ask()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with running(tmp_path_factory.mktemp("described"), {}) as node:
        yield Api(node)


async def test_every_answer_is_one_that_the_description_names(api: Api) -> None:
    faults = []
    operations = api.operations()
    assert len(operations) > 15
    for operation in operations:
        try:
            await asyncio.to_thread(api.hold, operation)
        except (Exception, FailureGroup) as error:
            faults.append(f"{operation.label}: {error}")
    assert not faults, "\n\n".join(faults)
    succeeded = {label for label, status in api.seen if status == 2}
    assert len(succeeded) > 0.8 * len(operations), "it asks what there is an answer to"


async def test_nothing_is_answered_without_the_token(api: Api) -> None:
    for operation in api.operations():
        path = operation.path.replace("{", "").replace("}", "")
        for headers in ({}, {"Authorization": "Bearer gp_admin_" + "x" * 43}):
            answer = await asyncio.to_thread(
                requests.request, operation.method, api.url + path, headers=headers, timeout=60
            )
            assert answer.status_code == 401, operation.label
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
