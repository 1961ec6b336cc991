"""What the benches make of figures: a wrong sum here would be believed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import documents
from bench.delivery import _further
from bench.support import machine, report, steady, wrk
from bench.support.process import NotStarted, Process, stopping

WRK = """Running 3s test @ http://127.0.0.1:9000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.52ms  300.10us   9.01ms   92.00%
    Req/Sec    20.10k     1.20k   22.00k    70.00%
  Latency Distribution
     50%  812.00us
     75%    1.60ms
     90%    1.90ms
     99%    3.07ms
  60012 requests in 3.01s, 70.20MB read
Requests/sec:  19937.54
Transfer/sec:     23.32MB
"""


def test_a_report_of_wrk_is_read_in_seconds() -> None:
    load = wrk.parse(WRK)
    assert (load.requests, load.seconds, load.errors) == (60012, 3.01, 0)
    assert load.p50 == pytest.approx(812e-6)
    assert load.p99 == pytest.approx(3.07e-3)
    assert load.rate == pytest.approx(60012 / 3.01)


def test_what_went_wrong_is_counted() -> None:
    wrong = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 10\n"
    assert wrk.parse(WRK + wrong).errors == 20


@pytest.mark.parametrize("said", ["", "unable to connect to 127.0.0.1:1", "  0 requests in 1.00s, 0.00B read"])
def test_a_run_without_an_answer_is_no_figure(said: str) -> None:
    with pytest.raises(wrk.WrkFailed):
        wrk.parse(said)


def test_a_ratio_pairs_the_rounds_so_that_a_busy_moment_counts_for_both() -> None:
    # The second round ran on a machine half as fast: the ratio of the medians would be 1.5 as well, but by luck.
    assert report.ratio([15.0, 30.0, 15.0], [10.0, 20.0, 10.0]) == 1.5
    assert report.ratio([15.0, 60.0, 30.0], [10.0, 40.0, 10.0]) == 1.5
    with pytest.raises(ValueError, match="zip"):
        report.ratio([1.0], [1.0, 2.0])


def test_a_table_is_markdown_with_figures_to_the_right() -> None:
    assert report.table(("who", "µs"), [("floor", "9.0"), ("gatepost", "12.5")]).splitlines() == [
        "| who      |   µs |",
        "| -------- | ---: |",
        "| floor    |  9.0 |",
        "| gatepost | 12.5 |",
    ]


def test_results_are_kept_by_date_and_as_the_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    written = report.write("gateway", "# figures\n", {"rows": [1]})
    assert written.read_text() == "# figures\n"
    assert (tmp_path / "results" / "gateway-latest.json").read_text() == '{\n "rows": [\n  1\n ]\n}'


def test_latencies_are_summed_up_and_silence_is_no_latency() -> None:
    latency = steady.summary([n / 1000 for n in range(1, 1001)], errors=2)
    assert latency.p50 == pytest.approx(0.5, abs=0.001)
    assert latency.p99 == pytest.approx(0.99, abs=0.001)
    assert (latency.requests, latency.worst, latency.errors) == (1000, 1.0, 2)
    with pytest.raises(ValueError, match="nothing was answered"):
        steady.summary([])


def test_a_further_delivery_costs_the_difference_of_two_fan_outs() -> None:
    rows = [
        {"subject": subject, "fan_out": fan_out, "cpu_us": cpu}
        for subject, fan_out, cpu in (
            ("floor", 1, 100.0),
            ("floor", 5, 300.0),
            ("gatepost", 1, 150.0),
            ("gatepost", 5, 400.0),
        )
    ]
    assert _further(rows) == [
        "CPU µs of each further delivery, from fan-out 1 to 5: floor 50.0, Gatepost 62.5, 1.25 × the floor"
    ]


def test_the_cpu_time_of_a_process_includes_its_children(tmp_path: Path) -> None:
    burn = "import time\nuntil = time.process_time() + 0.1\nwhile time.process_time() < until: pass\n"
    wait = "print('done', flush=True)\ntime.sleep(60)\n"
    script = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {burn!r}])\n{wait}"
    with stopping([Process("burner", [sys.executable, "-c", script], directory=tmp_path)]) as (process,):
        until = time.monotonic() + 20
        while "done" not in process.said() and time.monotonic() < until:
            os.sched_yield()
        assert process.cpu() >= 0.09
        assert process.rss() > 1_000_000


def test_a_program_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such setting')"]
    with (
        stopping([Process("broken", command, directory=tmp_path)]) as (process,),
        pytest.raises(NotStarted, match="no such setting"),
    ):
        process.wait_for_port(1, within=20)


def test_the_machine_and_its_disk_are_told(tmp_path: Path) -> None:
    told = machine.describe()
    assert {"cores", "processor", "kernel", "python", "uvloop", "apsw"} <= told.keys()
    assert machine.version_of([sys.executable, "--version"]) == sys.version.split()[0]
    assert machine.version_of(["/no/such/program"]) == ""
    disk = machine.fdatasync(tmp_path, times=5)
    assert 0 < disk["p50"] <= disk["p99"]


def test_the_documents_have_a_place_for_each_table(tmp_path: Path) -> None:
    for file in ("README.md", "docs/performance.md"):
        copy = tmp_path / Path(file).name
        copy.write_text((documents.ROOT / file).read_text())
    for file, name in (
        ("README.md", "gateway"),
        ("performance.md", "policies on the wire"),
        ("performance.md", "each policy"),
    ):
        documents.fill(tmp_path / file, name, "| a table |")
        assert f"<!-- bench: {name} -->\n| a table |\n<!-- end -->" in (tmp_path / file).read_text()
    with pytest.raises(ValueError, match=r"README.md has no place for 'other'"):
        documents.fill(tmp_path / "README.md", "other", "")


def test_a_row_of_the_documents_is_made_of_its_scenario() -> None:
    def row(subject: str, cpu: float, **ratios: float) -> dict[str, object]:
        return {"scenario": "quota", "subject": subject, "cpu_us": cpu, "ratios": ratios, "memory_mib": 88}

    rows = [row("floor", 30.0), row("gatepost", 40.0), row("gatepost quota", 50.0, floor=1.6)]
    last = documents.on_the_wire(rows).splitlines()[-1]
    assert [cell.strip() for cell in last.strip("|").split("|")] == [
        "quota",
        "30.0",
        "40.0",
        "50.0",
        "1.60",
        "1.25",
        "88",
    ]


@pytest.mark.parametrize("bench", ["gateway", "delivery", "hot_path", "policies", "keys", "documents"])
def test_every_bench_explains_itself(bench: str) -> None:
    root = Path(__file__).parents[2]
    told = subprocess.run(
        [sys.executable, "-m", f"bench.{bench}", "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    assert "Measure" in told.stdout
