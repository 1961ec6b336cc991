"""Run Gatepost under cProfile; `BENCH_PROFILE` names the file for the figures. Of the benches only: it costs half of
the speed, so what it gives is shares of time, never times."""

from __future__ import annotations

import cProfile
import os
import sys

from gatepost.cli import main

profile = cProfile.Profile()
sys.argv[0] = "gatepost"
try:
    profile.runcall(main)
finally:
    profile.dump_stats(os.environ["BENCH_PROFILE"])
