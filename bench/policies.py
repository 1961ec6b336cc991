"""What each policy costs a request that it lets pass, in µs of CPU: one row for each, some more.

    python -m bench.policies [--only TEXT …] [--repeat N]

The same request goes through a route with the policy and through one without, in turn, in this process and without
sockets (`support/inner.py`); the cost is the difference of the least of many runs. Where the policy answers by itself
there is nothing to subtract: what stands there is the whole exchange, beside a forwarded one.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from email.utils import formatdate
from pathlib import Path
from typing import Any

import uvloop
from bench.support import inner, machine, report
from bench.support.policy_cases import CONSUMERS, Case, Issuer, cases
from bench.support.setups import with_policies

from gatepost.policies import POLICIES
from gatepost.policies.logins import hash_password

CONTENT = b'{"id":1,"text":"' + b"lorem ipsum " * 83 + b'1234567890"}'  # 1 KiB


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what each policy costs.")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="policies whose name contains it")
    parser.add_argument("--repeat", type=int, default=40, help="runs of which the least counts")
    options = parser.parse_args()
    print(report.headline(machine.describe()), flush=True)
    uvloop.run(_measure(options.repeat, options.only))


async def _measure(repeat: int, only: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        named = cases(directory)
        assert named.keys() == POLICIES.keys(), "a policy without a row, or a row without a policy"
        consumers = CONSUMERS | {"c2": {"basic": [{"username": "u", "argon2": hash_password("pw")}]}}
        rows = []
        for name, each in named.items():
            if only and not any(text in name for text in only):
                continue
            rows += [await _row(name, case, directory, consumers, repeat) for case in each]
    head = ("policy", "given to do", "µs", "without it", "× plain")
    told = machine.describe()
    markdown = "\n\n".join(["# What each policy costs", report.headline(told), report.table(head, rows)]) + "\n"
    print(report.table(head, rows))
    if not only:  # the documents' table is of all of them
        print("\nwritten to", report.write("policies", markdown, {"machine": told, "head": head, "rows": rows}))


async def _row(
    name: str, case: Case, directory: Path, consumers: dict[str, Any], repeat: int
) -> tuple[str, str, str, str, str]:
    request, responses = _request(case), _responses(case)
    without = inner.Line(await inner.gate(directory, with_policies(9)), responses, case.certificate)
    settings = with_policies(9, {name: case.use}) | {"consumers": consumers}
    measured = inner.Line(await inner.gate(directory, settings, fetcher=Issuer()), responses, case.certificate)
    for _ in range(2):  # a first time for what is remembered, a second that meets it
        answer = await asyncio.wait_for(measured.first(request), 5)
    assert answer[9:10] in b"23", f"{name}: {answer.decode()}"
    plain, policy = inner.least([without.contender([request]), measured.contender([request])], repeat)
    asks = measured.contender([request]).asks
    what = f"{case.told}" if asks else f"{case.told}; the whole exchange"
    return name, what, f"{policy - plain if asks else policy:.1f}", f"{plain:.1f}", f"{policy / plain:.2f}"


def _request(case: Case) -> bytes:
    lines = [f"{case.method} {case.target} HTTP/1.1", "Host: 127.0.0.1:8080", "User-Agent: bench", "Accept: */*"]
    lines += [f"{field}: {value}" for field, value in case.fields.items()]
    if case.body:
        lines.append(f"Content-Length: {len(case.body)}")
    return "\r\n".join([*lines, "", case.body]).encode()


def _responses(case: Case) -> list[bytes]:
    kind = b"application/json" if case.json_response else b"text/plain"
    return [
        b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: %b\r\nContent-Type: %b\r\n"
        b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n"
        % (formatdate(usegmt=True).encode(), kind, len(body))
        + body
        for body in (CONTENT[:-2] + b"x" * n + CONTENT[-2:] for n in range(17))
    ]


if __name__ == "__main__":
    main()
