"""What the loader makes of a file: a typed Config, or every fault at once with its path and line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.config.loading import load, load_text
from gatepost.config.schema import Config, Listener
from gatepost.errors import ConfigError

SHOP = """\
listen: {traffic: "0.0.0.0:8080", control: "127.0.0.1:8081"}
store: sqlite:///gatepost.db
services:
  orders: {targets: ["http://127.0.0.1:9000"]}
routes:
  create-order:
    match: {path: /orders, methods: [POST]}
    service: orders
    policies:
      - api_key: {}
      - rate_limit: {limit: 100, window: 1m, by: consumer.id}
    emit:
      - when: response.status == 201
        app: shop
        event_type: order.created
        payload: "${ {'event': 'new_order', 'data': response.body} }"
        channels: ["/orders/${response.body.order_id}"]
consumers:
  web-shop: {keys: [{sha256: "env:WEB_SHOP_KEY_SHA256"}], routes: [create-order]}
"""
DIGEST = "0e" * 32
ENVIRON = {"WEB_SHOP_KEY_SHA256": DIGEST}


def faults(text: str | bytes, environ: dict[str, str] | None = None) -> list[str]:
    """The faults of a text as `line path: reason`."""
    with pytest.raises(ConfigError) as caught:
        load_text(text, "/etc/gatepost.yaml", environ or {})
    return [f"{issue.line} {issue.path}: {issue.reason}" for issue in caught.value.issues]


def only(text: str | bytes) -> str:
    found = faults(text)
    assert len(found) == 1, found
    return found[0]


def route(body: str) -> str:
    """A file whose line 5 and following are `body`, in the route `r`."""
    return f"services:\n  s: {{targets: ['http://h']}}\nroutes:\n  r:\n    match: {{path: /}}\n    service: s\n{body}"


def test_the_designs_example_is_read() -> None:
    config = load_text(SHOP, environ=ENVIRON).config
    assert config.listen.traffic == (Listener(address="0.0.0.0:8080"),)
    created = config.routes["create-order"]
    assert created.match.methods == ("POST",)
    assert created.policies[0].api_key is not None
    assert created.policies[1].rate_limit is not None
    assert created.policies[1].rate_limit.window == 60.0
    assert created.emit[0].channels == ("/orders/${response.body.order_id}",)
    assert config.consumers["web-shop"].keys[0].sha256 == DIGEST


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n", "{}", "~"])
def test_an_empty_file_is_every_default(text: str) -> None:
    assert load_text(text).config == Config()


def test_a_listener_is_an_address_or_a_mapping() -> None:
    short = load_text("listen: {traffic: '[::1]:80'}").config
    long = load_text("listen:\n  traffic: {address: '[::1]:80'}").config
    assert short == long


def test_every_fault_is_found_in_one_run_in_the_order_of_the_file() -> None:
    found = faults(
        """\
listen: {traffic: ":80"}
routs: {}
services:
  orders: {targets: []}
routes:
  create-order:
    match: {path: orders}
    service: order
    policies:
      - rate_limt: {}
      - rate_limit: {limit: 0, window: 60}
    upgrade: yes
consumers:
  shop: {keys: [{sha256: "env:NOWHERE"}], routes: [create-orders]}
trusted_proxies: [10.0.0.1/8]
limits: {header_bytes: 64KB}
"""
    )
    assert [line.partition(": ")[0] for line in found] == [
        "1 listen.traffic",
        "2 routs",
        "4 services.orders",
        "7 routes.create-order.match.path",
        "8 routes.create-order.service",
        "10 routes.create-order.policies[0].rate_limt",
        "11 routes.create-order.policies[1].rate_limit.limit",
        "11 routes.create-order.policies[1].rate_limit.window",
        "12 routes.create-order.upgrade",
        "14 consumers.shop.keys[0].sha256",
        "14 consumers.shop.routes[0]",
        "15 trusted_proxies[0]",
        "16 limits.header_bytes",
    ]
    assert "did you mean `routes`?" in found[1]
    assert "there is no service `order`; did you mean `orders`?" in found[4]
    assert "did you mean `rate_limit`?" in found[5]
    assert "write 10.0.0.0/8" in found[11]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("access_log: {}\naccess_log: {}\n", "2 access_log: stands there twice, first on line 1; keep one"),
        ("apps: {no: {}}", "1 apps.no: a key must be text"),
        ("apps: {1: {}}", "1 apps.1: a key must be text"),
        ("apps:\n  ~: {}", "2 apps.~: a key must be text"),
        ("? [a]\n: b", "1 : a key must be plain text, not a list"),
        ("? {a: b}\n: c", "1 : a key must be plain text, not a list"),
        ("a: &x [1]\n*x : 2", "1 : a key must be plain text, not an alias"),
        ("apps: {a: {name: on}}", "1 apps.a.name: must be text: YAML readers"),
        ("apps: {a: {name: 1:30}}", "1 apps.a.name: must be text: YAML readers"),
        ("apps: {a: {name: 2024-01-01}}", "1 apps.a.name: must be text: YAML readers"),
        ("apps: {a: {name: 1e3}}", "1 apps.a.name: must be text: YAML readers"),
        ("apps: {a: {name: }}", "1 apps.a.name: has no value"),
        ("live: {enabled: on}", "1 live.enabled: must be true or false"),
        ("live: {enabled: 'true'}", "1 live.enabled: must be true or false"),
        ("limits: {connections: 010}", "1 limits.connections: must be a whole number"),
        ("limits: {connections: 0x10}", "1 limits.connections: must be a whole number"),
        ("limits: {connections: 1_000}", "1 limits.connections: must be a whole number"),
        ("limits: {connections: 1:30}", "1 limits.connections: must be a whole number"),
        ("limits: {connections: 0}", "1 limits.connections: must be at least 1"),
        ("limits: {connections: -5}", "1 limits.connections: must be at least 1"),
        ("limits: {idle_timeout: 1:30}", "1 limits.idle_timeout: must be a duration"),
        ("limits: {idle_timeout: -1s}", "1 limits.idle_timeout: must be a duration"),
        ("limits: {idle_timeout: 30}", "1 limits.idle_timeout: must be a duration"),
        ("limits: {idle_timeout: 99999999d}", "1 limits.idle_timeout: must be a duration of at most"),
        ("limits: {body_bytes: 1MB}", "1 limits.body_bytes: must be a size"),
        ("limits: {body_bytes: 99999999999999999999}", "1 limits.body_bytes: must be a size of at most"),
        ("deliveries: {jitter: 1.5}", "1 deliveries.jitter: must be at most 1"),
        ("deliveries: {jitter: .5}", "1 deliveries.jitter: must be a number in plain decimal digits"),
        ("deliveries: {schedule: 5s}", "1 deliveries.schedule: must be a list"),
        ("deliveries: []", "1 deliveries: must be a mapping"),
        ("shutdown:", "1 shutdown: has no value; must be a mapping"),
        ("- a", "1 : must be a mapping"),
        ("just words", "1 : must be a mapping"),
        ("live: !!map {}", "1 : the tag `tag:yaml.org,2002:map` is not read"),
        ("store: !!python/name:os.system x", "1 : the tag"),
        ("live: &a {enabled: true}\nshutdown: {<<: *a}", "2 shutdown.<<: merging"),
        ("live: &a [*a]", "1 : the alias `*a` stands inside"),
        ("live: *a", "1 : the alias `*a` has no anchor"),
        ("live: &a {}\nshutdown: &a {}", "2 : the anchor `&a` is defined twice"),
        ("live:\n\tenabled: true", "2 : a tab cannot indent"),
        ("live: {}\n---\nlive: {}", "2 : a second document begins here"),
        ("live: [", "2 : did not find expected node content"),
        ("store: `x`", "1 : a text cannot begin with this character"),
        ("store: a: b", "1 : a second `: ` on this line"),
        ("a: \x01", "1 : control characters are not allowed"),
        ("a: b\nb: \ud800", "2 : a lone surrogate is not text"),
        (b"a: b\nb: \xff", "2 : not UTF-8"),
        ('"a\\nb": 1', "1 'a\\nb': unknown key"),
        ("access_log: {output: off}", "1 access_log.output: must be text"),
        ("listen: {traffic: 'h:80', control: 'h:80'}", "1 listen: `traffic` and `control` cannot listen on the same"),
        (
            "apps: {a: {endpoints: [{uid: e, url: http://h}, {uid: e, url: http://i}]}}",
            "1 apps.a: two of its endpoints have the uid `e`",
        ),
        ("store: mysql://x", "1 store: must be sqlite:///PATH"),
        ("live: {public: {a: b}}", "1 live.public: must be a list"),
        ("live: {path: [a]}", "1 live.path: must be one value, not a list"),
        ("consumers: {c: {routes: [r]}}", "1 consumers.c.routes[0]: there is no route `r`"),
        ("services: {-a: {targets: ['http://h']}}", "1 services.-a: is not a name"),
        ("apps: {a: {endpoints: [{uid: x}]}}", "1 apps.a.endpoints[0]: the key `url` is missing"),
        (route("    strip_prefix: api"), "7 routes.r.strip_prefix: must begin with /"),
        (route("    policies: [api_key]"), "7 routes.r.policies[0]: must be a mapping"),
        (route("    policies: [{api_key: }]"), "7 routes.r.policies[0]: must be exactly one of"),
        (route("    policies: [{api_key: {}, rate_limit: {limit: 1, window: 1s}}]"), "7 routes.r.policies[0]: must be"),
        (
            route("    policies: [{rate_limit: {limit: 1, window: 1s, burst: 3}}]"),
            "7 routes.r.policies[0].rate_limit: `b",
        ),
        (route("    policies: [{rate_limit: {limit: 1, window: 0s}}]"), "7 routes.r.policies[0].rate_limit: `window`"),
        (route("    policies: [{rate_limit: {limit: 1, window: 1s, by: ''}}]"), "7 routes.r.policies[0].rate_limit.by"),
        (
            route("    policies: [{api_key: {header: 'X Key'}}]"),
            "7 routes.r.policies[0].api_key.header: is not a header",
        ),
    ],
)
def test_a_fault_has_its_line_its_path_and_a_way_out(text: str | bytes, fault: str) -> None:
    assert only(text).startswith(fault)


def test_quotes_make_text_of_what_yaml_would_guess() -> None:
    config = load_text("apps: {'no': {name: '1:30'}}\naccess_log: {output: 'off'}").config
    assert config.apps["no"].name == "1:30"
    assert config.access_log.output == "off"


def test_an_expression_is_taken_as_it_is_written() -> None:
    config = load_text(route("    emit: [{when: true, app: a, event_type: e}]")).config
    assert config.routes["r"].emit[0].when == "true"


def test_an_alias_repeats_a_value() -> None:
    config = load_text("services:\n  a: &s {targets: ['http://h']}\n  b: *s\n").config
    assert config.services["a"] == config.services["b"]


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    began = time.perf_counter()
    assert "aliases repeat more than" in only("\n".join(lines))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 100_000, "- " * 100_000, "a: " + "[" * 40 + "]" * 40])
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    began = time.perf_counter()
    assert "nested more than 32 levels deep" in only(text)
    assert time.perf_counter() - began < 1


def test_a_hostile_file_makes_no_endless_report() -> None:
    found = faults("apps:\n" + "".join(f"  a{i}: 1\n" for i in range(3_000)))
    assert len(found) == 1_001
    assert found[-1].endswith("2000 more faults follow")


def test_a_thousand_wrong_names_among_a_thousand_cost_no_minutes() -> None:
    services = "".join(f"  service-{i}: {{targets: ['http://h']}}\n" for i in range(1_000))
    routes = "".join(f"  r{i}: {{match: {{path: /{i}}}, service: servise-{i}}}\n" for i in range(1_000))
    began = time.process_time()
    found = faults(f"services:\n{services}routes:\n{routes}")
    assert time.process_time() - began < 5  # 0.9 s measured; with a hint for each, 14 s
    assert found[0].endswith("there is no service `servise-0`; did you mean `service-0`?")
    assert found[-1].endswith("there is no service `servise-999`")


def test_a_fault_in_an_entry_does_not_hide_its_name_from_others() -> None:
    found = faults("services: {s: {targets: []}}\nroutes: {r: {match: {path: /}, service: s}}")
    assert len(found) == 1
    assert "services.s: must have `targets`" in found[0]


# secrets


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    (tmp_path / "gatepost.yaml").write_text("live: {jwt_secret: 'file:key'}")
    assert load(tmp_path / "gatepost.yaml").config.live.jwt_secret == "s3cret"
    assert load_text("live: {jwt_secret: env:K}", environ={"K": "s3cret"}).config.live.jwt_secret == "s3cret"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("env:MISSING", "the environment variable `MISSING` is not set"),
        ("env:EMPTY", "the environment variable `EMPTY` is empty"),
        ("file:missing", "cannot read the file"),
        ("file:", "cannot read the file"),
        ("file:empty", "is empty"),
        ("file:large", "is larger than 65536 bytes"),
        ("file:binary", "is not UTF-8 text"),
        ("", "is empty"),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_fault(tmp_path: Path, secret: str, reason: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_bytes(b"x" * 65_537)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as caught:
        load_text(f"live:\n  jwt_secret: '{secret}'", str(tmp_path / "gatepost.yaml"), {"EMPTY": ""})
    (issue,) = caught.value.issues
    assert (issue.path, issue.line) == ("live.jwt_secret", 2)
    assert reason in issue.reason


@pytest.mark.parametrize("value", ["hunter2-hunter2", "1234567890"])
@pytest.mark.parametrize("how", ["{value}", "'{value}'", "env:V"])
def test_the_value_of_a_secret_never_shows(value: str, how: str) -> None:
    written = how.format(value=value)
    text = f"consumers: {{c: {{keys: [{{sha256: {written}}}]}}}}\nlive: {{jwt_secret: {written}}}"
    with pytest.raises(ConfigError) as caught:
        load_text(text, environ={"V": value})
    assert value not in str(caught.value)
    loaded = load_text(f"live: {{jwt_secret: '{value}'}}")
    assert value not in repr(loaded.config)
    assert loaded.config.live.jwt_secret == value


@pytest.mark.parametrize("text", ["live: {jwt_secret: 'hunter2", "live: {jwt_secret: hunter2: x}", "live: [hunter2: &"])
def test_a_file_that_is_not_yaml_shows_nothing_of_its_text(text: str) -> None:
    assert "hunter2" not in only(text)


def test_a_hash_is_compared_in_lower_case() -> None:
    text = f"consumers: {{c: {{keys: [{{sha256: '{DIGEST.upper()}'}}]}}}}"
    assert load_text(text).config.consumers["c"].keys[0].sha256 == DIGEST


# files


def test_a_file_that_is_missing_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", ["/dev/zero", "/", "a\0b"])
def test_what_is_no_file_is_one_fault(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.config.tree.MAX_BYTES", 1_048_576)
    with pytest.raises(ConfigError, match=r"cannot be read|larger than 1 MiB|control characters"):
        load(path)


def test_tls_files_are_read_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("PEM")
    text = "listen: {traffic: {address: 'h:1', tls: {cert: c.pem, key: k.pem}}}"
    with pytest.raises(ConfigError) as caught:
        load_text(text, str(tmp_path / "gatepost.yaml"))
    (issue,) = caught.value.issues
    assert issue.path == "listen.traffic.tls.key"
    assert "No such file" in issue.reason
    (tmp_path / "k.pem").write_text("PEM")
    tls = load_text(text, str(tmp_path / "gatepost.yaml")).config.listen.traffic[0].tls
    assert tls is not None
    assert tls.cert == str(tmp_path / "c.pem")


# lines


def test_lines_finds_every_place() -> None:
    lines = load_text(SHOP, environ=ENVIRON).lines
    assert lines.of("listen.control") == 1
    assert lines.of("services.orders.targets[0]") == 4
    assert lines.of("routes.create-order") == 6
    assert lines.of("routes.create-order.match.path") == 7
    assert lines.of("routes.create-order.policies[1].rate_limit.by") == 11
    assert lines.of("routes.create-order.emit[0].payload") == 16
    assert lines.of("routes.create-order.emit[0].durable") == 13, "a default has the line of its parent"
    assert lines.of("routes") == 5
    assert lines.of("deliveries.timeout") == 1
    assert load_text("").lines.of("routes.x") == 0


def test_lines_finds_names_that_hold_dots() -> None:
    text = "apps:\n  a: {name: x}\n  a.b:\n    name: w\n    endpoints:\n     - url: http://h\n       uid: e\n"
    lines = load_text(text).lines
    assert lines.of("apps.a.name") == 2
    assert lines.of("apps.a.b.name") == 4
    assert lines.of("apps.a.b.endpoints[0].url") == 6
    assert lines.of("apps.a.b") == 3


# anything at all

KEYS = st.sampled_from(
    ["listen", "traffic", "address", "routes", "match", "path", "policies", "rate_limit", "limit", "<<", "no", "a", "é"]
)
WORDS = st.sampled_from(
    ["", "~", "no", "1:30", "010", "5s", "-1", "{}", "[]", "*a", "&a x", "!t", "'", '"', "${", "|", ">", "\t", "%", "@"]
)


def trees() -> st.SearchStrategy[str]:
    return st.recursive(
        WORDS | st.text(max_size=8),
        lambda below: st.one_of(
            st.lists(below, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
            st.lists(st.tuples(KEYS, below), max_size=4).map(
                lambda kv: "{" + ", ".join(f"{k}: {v}" for k, v in kv) + "}"
            ),
        ),
        max_leaves=12,
    )


@settings(max_examples=400, deadline=None)
@given(
    trees()
    | st.binary(max_size=80)
    | st.tuples(st.lists(KEYS), st.text(max_size=30)).map(lambda t: ": ".join(t[0]) + t[1])
)
def test_whatever_the_text_only_a_configerror_comes(text: str | bytes) -> None:
    try:
        load_text(text, environ={})
    except ConfigError as error:
        found = error.issues
    else:
        return
    assert found
    assert all(len(str(issue).splitlines()) == 1 for issue in found)


def test_ten_thousand_routes_load_in_seconds() -> None:
    text = "services:\n  s: {targets: ['http://h']}\nroutes:\n" + "".join(
        f"  r{i}:\n    match: {{path: /orders/{i}, methods: [POST]}}\n    service: s\n"
        f"    policies: [{{api_key: {{}}}}, {{rate_limit: {{limit: 100, window: 1m, by: consumer.id}}}}]\n"
        for i in range(10_000)
    )
    began = time.process_time()
    loaded = load_text(text)
    assert time.process_time() - began < 6  # 1.0 s measured on the two-core machine
    assert len(loaded.config.routes) == 10_000
    assert loaded.lines.of("routes.r9999.policies[1].rate_limit.by") == 40_003
