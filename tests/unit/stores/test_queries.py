"""The SQL files: every query is found, compiles, and reaches its rows through an index."""

from __future__ import annotations

import re

import apsw
import pytest

from gatepost.stores.queries import queries, schema

QUERIES = queries("sqlite")
INDEXES = {
    "attempt_of_endpoint": {"{index}": "attempt_of_endpoint", "{of}": "endpoint", "{failed}": ""},
    "attempt_of_message": {"{index}": "attempt_of_message", "{of}": "message", "{failed}": ""},
    "attempt_failed": {"{index}": "attempt_failed", "{of}": "endpoint", "{failed}": "a.ok = 0 AND"},
}
# Read whole: apps and endpoints at start, the index of what is still to sweep, the table that is always empty.
WHOLE = {
    "apps": "app",
    "endpoints": "endpoint",
    "next_due": "e",
    "endpoints_to_sweep": "endpoint USING COVERING INDEX endpoint_to_sweep",
    "probe_clear": "probe",
    "consumers": "consumer",
    "access_keys": "access_key",
    "plans": "plan",
    "event_type_infos": "event_type_info",
    "sealing_keys": "sealing_key",
    "drop_answers": "answer",
    "retention_marks": "retention_mark",  # a few rules
    "drop_retention_marks": "retention_mark",
    "heads": "key",  # what was found so far, of one endpoint and at most as many as are asked for
    "lanes_in_order": "e",
    "lane_states": "l",
    "running_tasks": "task USING INDEX task_running",
    # `gatepost store check` looks at everything, while nobody else does.
    "lost_deliveries": "d",
    "stray_deliveries": "d",
    "lost_attempts": "a",
}
# Add up a range of time, one sum a name: few rows come out, and only they are sorted.
SUMS = {"analytics_totals_by_route", "analytics_totals_by_consumer", "count_deliveries"}


@pytest.fixture(scope="module")
def database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute(schema("sqlite"))
    return connection


def filled(name: str) -> list[str]:
    sql = QUERIES[name]
    variants = [sql]
    if "{index}" in sql:
        variants = []
        for parts in INDEXES.values():
            variant = sql
            for placeholder, text in parts.items():
                variant = variant.replace(placeholder, text)
            variants.append(variant)
    return [variant.replace("{order}", order) for variant in variants for order in ("ASC", "DESC")]


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_scans_or_sorts_a_table_that_grows(database: apsw.Connection, name: str) -> None:
    for sql in filled(name):
        bindings: object = dict.fromkeys(re.findall(r":(\w+)", sql), 1) if ":" in sql else [1] * sql.count("?")
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]
        for step in plan:
            if name in WHOLE and step.startswith(f"SCAN {WHOLE[name]}"):
                continue
            assert "SCAN" not in step or "json_each" in step or "CONSTANT ROW" in step, (name, plan)
            assert "TEMP B-TREE" not in step or name in SUMS, (name, plan)


def test_the_failures_of_an_endpoint_come_from_the_partial_index(database: apsw.Connection) -> None:
    sql = QUERIES["list_attempts"]
    for placeholder, text in (INDEXES["attempt_failed"] | {"{order}": "DESC"}).items():
        sql = sql.replace(placeholder, text)
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", dict.fromkeys(re.findall(r":(\w+)", sql)))]
    assert plan[0].startswith("SEARCH a USING INDEX attempt_failed (endpoint=? AND rowid>? AND rowid<?)"), plan
