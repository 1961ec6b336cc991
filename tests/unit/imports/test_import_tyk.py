"""Coming from Tyk: what is carried over works here, what is not is told, and nothing opens by accident."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from gatepost.cli import app
from gatepost.compile import check
from gatepost.config.loading import load_text
from gatepost.config.policies import PolicyUse
from gatepost.config.schema import Config, Route
from gatepost.imports.result import Imported, NotImportable
from gatepost.imports.tyk import import_tyk

FILES = Path(__file__).parents[2] / "data" / "tyk"
SECRET = "a-secret-of-at-least-32-bytes-for-hs256"


def imported(*names: str) -> Imported:
    return import_tyk([(name, (FILES / name).read_text()) for name in names])


def classic(**settings: Any) -> Imported:
    """One small API, and what is different in it."""
    return import_tyk([("api.json", json.dumps(definition(**settings)))])


def definition(extended: Any = None, version: Any = None, **settings: Any) -> dict[str, Any]:
    only = {"name": "Default", "use_extended_paths": True, "extended_paths": extended or {}, **(version or {})}
    return {
        "name": "api",
        "api_id": "api",
        "use_keyless": True,
        "proxy": {"listen_path": "/api/", "target_url": "http://127.0.0.1:9000", "strip_listen_path": True},
        "version_data": {"not_versioned": True, "versions": {"Default": only}},
        **settings,
    }


def config(of: Imported) -> Config:
    """What it loads as; it must compile too."""
    loaded = load_text(of.text, environ=dict.fromkeys(of.environment, SECRET))
    check("gatepost.yaml", loaded)
    return loaded.config


def policies(route: Route) -> dict[str, Any]:
    return {
        name: getattr(use, name) for use in route.policies for name in PolicyUse.__struct_fields__ if getattr(use, name)
    }


def left(of: Imported) -> dict[str, str]:
    return {each.setting: f"{each.why} {each.nearest}" for each in of.left}


@pytest.mark.parametrize("name", ["classic.json", "versions.json", "oas.json"])
def test_every_fixture_loads_and_compiles(name: str) -> None:
    for files in ((name,), (name, "policies.json")):
        assert config(imported(*files)).routes


def test_every_fixture_passes_gatepost_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gatepost.yaml"
    files = [str(FILES / name) for name in ("classic.json", "versions.json", "oas.json", "policies.json")]
    main = typer.main.get_command(app).main
    main(["import", "tyk", *files, "-o", str(out), "--report", "json"], standalone_mode=False)
    report = json.loads(capsys.readouterr().err)
    for variable in report["environment"]:
        monkeypatch.setenv(variable, SECRET)
    main(["check", str(out)], standalone_mode=False)
    assert ": good:" in capsys.readouterr().out
    assert {"where", "setting", "why", "nearest"} == set(report["left"][0])


def test_the_table_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    typer.main.get_command(app).main(["import", "tyk", str(FILES / "classic.json")], standalone_mode=False)
    printed = capsys.readouterr()
    assert config(Imported(printed.out, [], {})).routes
    assert "custom_middleware" in printed.err
    assert "policy: package.module:Class" in printed.err


# Where requests go.


def test_the_listen_path_is_the_routes() -> None:
    found = config(imported("classic.json"))
    route = found.routes["orders"]
    assert (route.match.path, route.strip_prefix, route.match.hosts) == ("/orders/*", "/orders", ("api.example.com",))
    service = found.services[route.service]
    assert [target.url for target in service.targets] == ["http://10.0.0.1:8080", "http://10.0.0.2:8080"]
    assert (service.host, service.tls.verify) == ("preserve", False)


def test_weights_are_carried_over() -> None:
    service = config(imported("oas.json")).services["Petstore"]
    assert [(target.url, target.weight) for target in service.targets] == [
        ("https://a.example.com", 3),
        ("https://b.example.com", 1),
    ]


def test_an_api_that_is_off_makes_no_route() -> None:
    of = imported("versions.json")
    assert not any(route.match.path.startswith("/off") for route in config(of).routes.values())
    assert any(each.where == "Off" and each.setting == "active" for each in of.left)


# Who may call.


def test_nothing_opens_by_accident() -> None:
    """A way to identify callers that has no equal here leaves the route closed."""
    for settings in (
        {"enable_signature_checking": True},
        {"use_openid": True},
        {"use_oauth2": True},
        {"external_oauth": {"enabled": True}},
        {"use_go_plugin_auth": True},
        {"enable_coprocess_auth": True},
        {"enable_jwt": True, "jwt_signing_method": "none"},
    ):
        of = classic(use_keyless=False, **settings)
        (route,) = config(of).routes.values()
        assert policies(route)["mock"].status == 403, settings
        assert any("answer 403 until you decide" in each.why for each in of.left), settings
    assert "api_key" in policies(next(iter(config(classic(use_keyless=False)).routes.values())))


def test_an_oas_api_without_a_known_scheme_is_closed() -> None:
    document = json.loads((FILES / "oas.json").read_text())
    authentication = document["x-tyk-api-gateway"]["server"]["authentication"]
    authentication["securitySchemes"] = {}
    route = config(import_tyk([("a.json", json.dumps(document))])).routes["petstore-post-pets"]
    assert policies(route)["mock"].status == 403


def test_a_key_is_looked_for_where_it_was() -> None:
    use = policies(config(imported("classic.json")).routes["orders"])["api_key"]
    assert (use.header, use.query) == ("X-Orders-Key", "key")


def test_no_secret_is_written_down() -> None:
    of = imported("versions.json")
    assert "super-secret-value" not in of.text + json.dumps(left(of)) + json.dumps(of.environment)
    assert "c3VwZXItc2VjcmV0LXZhbHVl" not in of.text + json.dumps(left(of)) + json.dumps(of.environment)
    assert of.environment == {"PATH_VERSIONS_JWT_SECRET": "the secret that signs its tokens"}
    assert "env:PATH_VERSIONS_JWT_SECRET" in of.text


def test_tokens_are_checked_against_the_same_keys() -> None:
    use = policies(config(imported("oas.json")).routes["petstore-post-pets"])["jwt"]
    assert (use.jwks_url, use.issuers, use.algorithms[0]) == (
        "https://id.example.com/jwks",
        ("https://id.example.com",),
        "RS256",
    )


def test_addresses_are_networks_here() -> None:
    assert policies(config(imported("classic.json")).routes["orders"])["ip"].allow == ("10.0.0.0/8", "192.168.1.7/32")
    of = classic(enable_ip_whitelisting=True, allowed_ips=["nowhere"])
    (route,) = config(of).routes.values()
    assert policies(route)["ip"].allow == ("192.0.2.0/32",)  # a list of which nothing could be read lets nobody in


# Endpoints.


def test_endpoints_are_routes_with_all_that_tyk_would_apply() -> None:
    found = config(imported("classic.json")).routes
    item = policies(found["orders-get-items-id"])
    assert found["orders-get-items-id"].match.path == "/orders/items/{id}/*"
    assert item["headers"].response.set == {"X-Served": "tyk"}
    assert policies(found["orders-post-items"])["validate"].body.schema is not None
    assert found["orders-post-items"].body_bytes == 4096
    assert found["orders-get-slow"].timeouts.total == 3
    assert policies(found["orders-get-legacy"])["method"].to == "POST"
    assert policies(found["orders-get-old-rest"])["rewrite"].path == "/orders/new/${match.p1}"
    assert found["orders-get-private"].access_log is False
    assert policies(found["orders-get-cached"])["cache"].ttl == 10
    assert policies(found["orders-get-admin"])["mock"].status == 403
    assert "api_key" not in policies(found["orders-get-health"])
    assert policies(found["orders-get-status"])["mock"].body == '{"up": "$${x}"}'


def test_a_breaker_is_a_services() -> None:
    found = config(imported("classic.json"))
    breaker = found.services[found.routes["orders-get-slow"].service].breaker
    assert breaker is not None
    assert (breaker.share, breaker.minimum, breaker.open) == (0.4, 10, 30)
    assert found.services[found.routes["orders"].service].breaker is None


def test_what_stands_on_no_list_of_the_allowed_is_refused() -> None:
    found = config(classic(extended={"white_list": [{"path": "/pets", "method": "GET"}]})).routes
    assert policies(found["api"])["mock"].status == 403
    assert policies(found["api-get-pets"]) == {}


def test_a_refusal_that_is_a_regular_expression_refuses_rather_too_much() -> None:
    of = classic(extended={"black_list": [{"path": "/admin/[0-9]+", "method": "GET"}]})
    found = config(of).routes
    assert found["api-get-admin"].match.path == "/api/admin/*"
    assert policies(found["api-get-admin"])["mock"].status == 403
    assert "all of /admin is refused" in left(of)["endpoint GET /admin/[0-9]+"]


def test_what_is_wider_holds_for_what_is_narrower() -> None:
    extended = {
        "black_list": [{"path": "/admin"}],
        "transform_headers": [{"path": "/admin/users", "method": "GET", "add_headers": {"x": "y"}}],
    }
    found = config(classic(extended=extended)).routes
    assert policies(found["api-get-admin-users"])["mock"].status == 403


def test_older_definitions_name_methods_by_action() -> None:
    extended = {
        "white_list": [
            {
                "path": "/pets",
                "method_actions": {
                    "GET": {"action": "no_action", "code": 200},
                    "POST": {"action": "reply", "code": 201, "data": "made", "headers": {"x": "y"}},
                },
            }
        ]
    }
    found = config(classic(extended=extended)).routes
    assert policies(found["api-post-pets"])["mock"].body == "made"
    assert policies(found["api-get-pets"]) == {}


def test_the_most_specific_cache_counts() -> None:
    cached = [{"path": "/a/b", "method": "GET", "timeout": 5}, {"path": "/a", "method": "GET", "timeout": 9}]
    options = {"enable_cache": True, "cache_all_safe_requests": True, "cache_timeout": 60}
    found = config(classic(extended={"advance_cache_config": cached}, cache_options=options)).routes
    ttls = {name: policies(found[name])["cache"].ttl for name in ("api-get-a-b", "api-get-a", "api")}
    assert ttls == {"api-get-a-b": 5, "api-get-a": 9, "api": 60}


def test_a_key_is_read_from_the_cookie_that_it_was_in() -> None:
    place = {"auth_header_name": "X-Key", "use_cookie": True, "cookie_name": "key"}
    of = classic(use_keyless=False, use_standard_auth=True, auth_configs={"authToken": place})
    use = policies(config(of).routes["api"])["api_key"]
    assert (use.header, use.cookie) == ("X-Key", "key")


def test_a_token_is_read_from_where_it_was() -> None:
    configs = {"jwt": {"auth_header_name": "X-Token", "use_cookie": True, "cookie_name": "token"}}
    of = classic(
        use_keyless=False,
        enable_jwt=True,
        jwt_signing_method="rsa",
        jwt_source="https://id.example.com/jwks",
        auth_configs=configs,
    )
    use = policies(config(of).routes["api"])["jwt"]
    assert (use.header, use.cookie, use.jwks_url) == ("X-Token", "token", "https://id.example.com/jwks")
    assert not any("auth_configs" in setting for setting in left(of))


# Versions.


def test_versions_by_header_reach_their_own_service_on_every_path() -> None:
    found = config(imported("versions.json"))
    by_version = {
        (route.match.path, route.match.headers.get("x-api-version")): found.services[route.service].targets[0].url
        for route in found.routes.values()
        if route.match.path.startswith("/hv")
    }
    assert by_version["/hv/pets/*", "v2"] == by_version["/hv/*", "v2"] == "https://hv2.example.com"
    assert by_version["/hv/pets/*", None] == by_version["/hv/pets/*", "v1"] == "https://hv.example.com"


def test_versions_by_path_and_by_query() -> None:
    found = config(imported("versions.json")).routes
    assert [route.strip_prefix for route in found.values() if route.match.path.startswith("/pv/")] == [
        "/pv/v1",
        "/pv/v2",
    ]
    (use,) = (policies(route)["version"] for route in found.values() if route.match.path.startswith("/qv"))
    assert (use.query, use.default, use.versions["2"].service) == ("v", "1", "Query-versions-2")


# Policies.


def test_policies_are_plans() -> None:
    found = config(imported("classic.json", "policies.json"))
    gold = found.plans["Gold"]
    assert gold.routes is not None
    assert "orders" in gold.routes
    assert gold.rate_limits["default"].limit == 100
    assert (gold.quotas["quota"].limit, gold.quotas["quota"].period) == (10_000, "3600s")
    assert set(found.plans) == {"Gold", "Free"}
    limit = next(use.rate_limit for use in found.routes["orders"].policies if use.rate_limit and use.rate_limit.plan)
    assert (limit.limit, limit.by) == (100, "consumer.id")


# What is left.


def test_every_key_that_nobody_read_is_told() -> None:
    of = classic(tomorrow={"enabled": True, "deep": [1]}, proxy_tomorrow=5, nothing="", off=False)
    assert {"tomorrow", "proxy_tomorrow"} <= set(left(of))
    assert not {"nothing", "off"} & set(left(of))


@pytest.mark.parametrize(
    ("setting", "nearest"),
    [
        ("custom_middleware", "in Python"),
        ("event_handlers", "app `gatepost`"),
        ("uptime_tests", "health"),
        ("version_data.versions.Default.extended_paths.transform", "transform"),
        ("version_data.versions.Default.extended_paths.virtual", "asgi"),
        ("version_data.versions.Default.extended_paths.url_rewrites[1]", "rewrite"),
        ("version_data.versions.Default.global_headers.X-Meta", "expression"),
    ],
)
def test_what_is_left_is_told_with_what_comes_next_to_it(setting: str, nearest: str) -> None:
    assert nearest in left(imported("classic.json"))[setting]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"openapi": "3.0.0"}', "7", '{"a": {"b": 1}}', "[" * 10_000])
def test_what_is_no_file_of_tyk_is_said_so(text: str) -> None:
    with pytest.raises(NotImportable):
        import_tyk([("a.json", text)])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 5) | st.text(max_size=5),
        lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text(max_size=8), deeper, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(
        ["proxy", "auth", "version_data", "CORS", "cache_options", "event_handlers", "name", "global_rate_limit"]
    ),
)
def test_values_of_other_shapes_are_no_traceback(value: Any, key: str) -> None:
    whole = definition(use_keyless=False)
    whole[key] = value
    try:
        of = import_tyk([("a.json", json.dumps(whole))])
    except NotImportable:
        return
    assert of.text
