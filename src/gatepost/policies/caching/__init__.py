"""What the `cache` policy is made of: a shared cache as RFC 9111 describes one.

    asked       what a request says of caching
    fields      caching fields as values: directives, dates, Age, Vary
    rules       what may be stored, how long it is fresh, what a 304 changes: functions of values
    answers     a stored response as this request is to see it: 200, 206, 304, 416
    storage     stored responses, bounded in bytes, found by key, path and tag
    stage       the response on its way to the client, looked at and kept in passing

Open `rules.py` first. `policies/cache.py` puts them together.
"""
