"""`gatepost explain`: which route takes a request, and what it meets there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatepost.config.loading import load
from gatepost.config.schema import Config
from gatepost.errors import ProtocolError


def explain(
    method: Annotated[str, typer.Argument(help="GET, POST …")],
    url: Annotated[str, typer.Argument(help="http://api.example.com/orders/1, or just /orders/1.")],
    header: Annotated[list[str], typer.Option("-H", "--header", help="A header: 'Name: value'.")] = [],  # noqa: B006
    config: Annotated[Path, typer.Option("-c", "--config", help="The configuration file.")] = Path("gatepost.yaml"),
) -> None:
    """Say which route and policies a request meets, or why none. Exit code 1 if no route takes it."""
    from gatepost.compile import LIVE_ROUTE
    from gatepost.compile import check as compile_and_check
    from gatepost.http1.request import HeadLimits, RequestParser
    from gatepost.http1.targets import split_target
    from gatepost.server.routing import Found, MethodNotAllowed

    for line in header:
        if ":" not in line:
            raise typer.BadParameter(f"{line!r} is no header; write -H 'Name: value'")
    loaded = load(config)
    router = compile_and_check(str(config), loaded)
    try:
        head = RequestParser(HeadLimits()).parse(_head(method.upper(), url, header))
        target = split_target(head.method, head.target)
    except ProtocolError as error:
        print(f"{error.problem.status}: {error.problem.detail or error.problem.title}")
        raise typer.Exit(1) from None
    host = target.authority or head.host
    print(f"{method.upper()} {host.decode()}{target.path}")
    for candidate in router.explain(host, target.path, head.method, head):
        print(f"  {candidate.name:24} {candidate.pattern:32} {candidate.reason or 'takes it'}")
    found = router.find(host, target.path, head.method, head)
    if isinstance(found, Found):
        if found.value == LIVE_ROUTE:
            print("answered by: the live streams")
        else:
            _describe(loaded.config, found.value, found.params)
        return
    if isinstance(found, MethodNotAllowed):
        print(f"405: the path is known, but not with {method.upper()}; allowed: {found.allow.decode()}")
    else:
        print("404: no route matches this host and path")
    raise typer.Exit(1)


def _head(method: str, url: str, headers: list[str]) -> bytes:
    target = url
    lines = list(headers)
    host = "localhost"
    if "://" in url:
        host, slash, path = url.partition("://")[2].partition("/")
        target = slash + path or "/"
    if not any(h.lower().startswith("host:") for h in lines):
        lines.insert(0, f"Host: {host}")
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1", "replace")


def _describe(config: Config, name: str, params: dict[str, str]) -> None:
    route = config.routes[name]
    service = config.services[route.service]
    print(f"route:       {name}")
    print(f"parameters:  {', '.join(f'{k}={v}' for k, v in params.items()) or 'none'}")
    print(f"policies:    {', '.join(_in_order(config, name)) or 'none'}")
    print(f"emits:       {', '.join(entry.event_type for entry in route.emit) or 'nothing'}")
    where = ", ".join(target.url for target in service.targets) or service.asgi or "mocks"
    print(f"service:     {route.service} → {where}")
    for part in route.split:
        print(f"             {part.service} for {part.when or f'{part.percent:g} %'}")
    for use in route.policies:
        for version, declared in use.version.versions.items() if use.version is not None else ():
            if declared.service is not None:
                print(f"             {declared.service} for version {version}")
    if route.mirror is not None:
        print(f"mirror:      {route.mirror.service}, {route.mirror.percent:g} %")


def _in_order(config: Config, name: str) -> list[str]:
    """The names of a route's policies as a request meets them: by phase, and within one as the file has them."""
    from gatepost.policies import build_policy
    from gatepost.policies.base import PolicyContext
    from gatepost.policies.logins import logins_of
    from gatepost.policies.states import States
    from gatepost.stores.access import Access

    context = PolicyContext(name, Access(config.consumers, config.plans), States(), logins=logins_of(config.consumers))
    met = [
        (build_policy(use, context).phase, field)
        for use in config.routes[name].policies
        for field in use.__struct_fields__
        if getattr(use, field) is not None
    ]
    return [field for _, field in sorted(met, key=lambda each: each[0])]
