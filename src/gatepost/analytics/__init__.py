"""What is seen: how much traffic there was, by whom, how it ended and how long it took.

- `sketch.py`    quantiles of durations, mergeable. Pure.
- `cells.py`     what is counted of one minute, route, consumer and status class; merging. Pure.
- `meter.py`     takes a sample from each exchange that ends, adds samples up off the hot moment. Start here.
- `keeper.py`    writes minutes to the store, rolls them up to hours and days, deletes what is old.
- `reading.py`   answers questions from all three resolutions.
- `telemetry.py` OpenTelemetry: what ended, in batches, to threads; `otlp_spans.py` and `otlp_metrics.py` are these.
- `capture.py`   keeps sampled exchanges; `redaction.py` and `capture_document.py` take out what is secret,
                 `capture_keeper.py` writes them.
- `metrics.py`   what Prometheus reads: names, kinds, text. Pure. `scrape.py` answers with it, and watches the loop.

    exchange ends ─► one tuple ─► cells of this minute ─► the store, each minute ─► hours ─► days
"""
