"""Put the figures of the last runs into the documents, between the marks that stand there.

    python -m bench.documents

`bench.gateway --tables` and `bench.policies` leave their figures in `bench/results/*-latest.json`; the tables of README
and docs/performance.md are made of them and of nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.gateway import SCENARIOS, Scenario
from bench.support import report

ROOT = Path(__file__).parents[1]
HEADINGS = {"nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy", "traefik": "Traefik", "caddy": "Caddy"}


def main() -> None:
    argparse.ArgumentParser(description="Measure nothing: put the last figures into the documents.").parse_args()
    rows = _last("gateway")["rows"]
    measured = {row["scenario"] for row in rows}
    missing = [scenario.name for scenario in SCENARIOS if scenario.told and scenario.name not in measured]
    if missing:
        sys.exit(f"the last run of bench.gateway lacks rows, run it with --tables: {', '.join(missing)}")
    fill(ROOT / "README.md", "gateway", proxies(rows))
    fill(ROOT / "docs" / "performance.md", "policies on the wire", on_the_wire(rows))
    fill(ROOT / "docs" / "performance.md", "each policy", each_policy(_last("policies")))


def proxies(rows: Sequence[dict[str, Any]]) -> str:
    """Gatepost beside others, without policies and with a few."""
    lines = []
    for scenario in SCENARIOS:
        found = _of(scenario, rows)
        if not (scenario.told and found and scenario.setup in ("plain", "full")):
            continue
        suffix = " full" if scenario.setup == "full" else ""
        ours = found[f"gatepost{suffix}"]
        lines.append(
            (
                scenario.name.replace("plain", "plain proxy", 1).replace("full", "key, limit and record", 1),
                *(_cpu(found.get(name + suffix)) for name in HEADINGS),
                _cpu(found.get("floor" + suffix)),
                _cpu(ours),
                _times(ours, scenario.against[0]),
            )
        )
    return report.table(("µs of CPU a request", *HEADINGS.values(), "floor", "Gatepost", "× floor"), lines)


def on_the_wire(rows: Sequence[dict[str, Any]]) -> str:
    """What a policy makes of the plain proxy's cost, with the same requests."""
    lines = []
    for scenario in SCENARIOS:
        found = _of(scenario, rows)
        if not found or scenario.setup in ("plain", "full"):
            continue
        ours = found[f"gatepost {scenario.setup}"]
        plain = found["gatepost"]
        times = ours["cpu_us"] / plain["cpu_us"]
        lines.append(
            (
                scenario.name,
                _cpu(found.get("floor")),
                _cpu(plain),
                _cpu(ours),
                _times(ours, "floor"),
                f"{times:.2f}",
                str(ours["memory_mib"]),
            )
        )
    head = ("µs of CPU a request", "floor", "plain proxy", "Gatepost", "× floor", "× plain", "MiB")
    return report.table(head, lines)


def each_policy(told: dict[str, Any]) -> str:
    lines = [(f"`{name}`", *cells) for name, *cells in told["rows"]]
    return report.table(told["head"], lines)


def fill(file: Path, name: str, table: str) -> None:
    """Replace what stands between `<!-- bench: NAME -->` and `<!-- end -->`. Raises ValueError without such marks."""
    text = file.read_text()
    mark = f"<!-- bench: {name} -->\n"
    before, found, after = text.partition(mark)
    _, ended, rest = after.partition("<!-- end -->")
    if not (found and ended):
        raise ValueError(f"{file.name} has no place for {name!r}")
    file.write_text(f"{before}{mark}{table}\n{ended}{rest}")


def _last(bench: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((report.RESULTS / f"{bench}-latest.json").read_text())
    return found


def _of(scenario: Scenario, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["subject"]: row for row in rows if row["scenario"] == scenario.name}


def _cpu(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['cpu_us']:.1f}"


def _times(row: dict[str, Any], other: str) -> str:
    return f"{row['ratios'][other]:.2f}" if other in row["ratios"] else ""


if __name__ == "__main__":
    main()
