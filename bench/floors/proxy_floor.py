"""The floor of `bench/gateway.py`: the least that a Python reverse proxy can do. Not a base to build on.

uvloop + httptools, raw asyncio protocols, one process. No limits, no timeouts, no backpressure, no error handling: it
is here to be measured beside Gatepost in the same run, and says how much of the cost is Python's and the kernel's own.

    python proxy_floor.py PORT         plain proxy to 127.0.0.1:9000
    python proxy_floor.py PORT full    + API key look-up, token bucket, access record

    --backend=PORT    --tls=PORT,CERT,KEY (HTTPS beside HTTP)

CPU microseconds a request when it was written (user + system of the process, wrk -t1 -c32, two cores): nginx 15,
HAProxy 20, this 23 (full: 24), Envoy 52, Traefik 76, Caddy 84.
"""

import asyncio
import ssl
import sys
import time

import httptools
import uvloop

OPTIONS = dict(argument[2:].split("=", 1) for argument in sys.argv if argument.startswith("--") and "=" in argument)
BACKEND = int(OPTIONS.get("backend", "9000"))
FEAT = "full" in sys.argv
POOL = []
KEYS = {b"k%d" % i: [1e9, time.monotonic()] for i in range(10000)}
LOG = []
HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"proxy-connection", b"te", b"trailer"}


class Up(asyncio.Protocol):
    __slots__ = ("buf", "down", "hdr", "p", "status", "t")

    def connection_made(self, t):
        self.t = t

    def start(self, down):
        self.down = down
        self.p = httptools.HttpResponseParser(self)
        self.hdr = []
        self.buf = b""

    def data_received(self, d):
        self.p.feed_data(d)

    def on_status(self, s):
        pass

    def on_header(self, n, v):
        lower = n.lower()
        if lower not in HOP:
            self.hdr.append(n + b": " + v)

    def on_headers_complete(self):
        self.hdr.append(b"x-request-id: abc")
        self.hdr.append(b"")
        self.buf = b"HTTP/1.1 %d OK\r\n" % self.p.get_status_code() + b"\r\n".join(self.hdr) + b"\r\n"

    def on_body(self, b):
        if self.buf:
            self.down.t.write(self.buf + b)
            self.buf = b""
        else:
            self.down.t.write(b)

    def on_message_complete(self):
        if self.buf:
            self.down.t.write(self.buf)
            self.buf = b""
        d = self.down
        self.down = None
        POOL.append(self)
        if FEAT:
            LOG.append((time.time(), d.url, d.key, self.p.get_status_code(), time.monotonic() - d.t0))
            if len(LOG) > 1000:
                LOG.clear()

    def connection_lost(self, e):
        try:
            POOL.remove(self)
        except ValueError:
            pass


class Down(asyncio.Protocol):
    __slots__ = ("early", "hdr", "key", "p", "t", "t0", "up", "url")

    def connection_made(self, t):
        self.t = t
        self.p = httptools.HttpRequestParser(self)
        self.up = None

    def data_received(self, d):
        self.p.feed_data(d)

    def on_message_begin(self):
        self.hdr = []
        self.url = b""
        self.key = b""

    def on_url(self, u):
        self.url += u

    def on_header(self, n, v):
        lower = n.lower()
        if lower == b"x-api-key":
            self.key = v
        if lower not in HOP:
            self.hdr.append(n + b": " + v)

    def on_headers_complete(self):
        now = time.monotonic()
        self.t0 = now
        if FEAT:
            _ = httptools.parse_url(self.url).path
            b = KEYS.get(self.key)
            if b is None:
                self.t.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
                return
            b[0] = min(1e9, b[0] + (now - b[1]) * 1e6) - 1
            b[1] = now
        h = self.hdr
        h.append(b"x-forwarded-for: 127.0.0.1")
        h.append(b"x-request-id: abcdef")
        h.append(b"")
        h.append(b"")
        data = self.p.get_method() + b" " + self.url + b" HTTP/1.1\r\n" + b"\r\n".join(h)
        if POOL:
            u = POOL.pop()
            u.start(self)
            u.t.write(data)
            self.up = u
        else:
            self.up = None
            self.early = []
            asyncio.ensure_future(self.conn(data))  # noqa: RUF006 - the floor keeps nothing that it can do without

    def on_body(self, b):
        if self.up is None:
            self.early.append(b)
        else:
            self.up.t.write(b)

    async def conn(self, data):
        _, u = await LOOP.create_connection(Up, "127.0.0.1", BACKEND)
        u.start(self)
        u.t.write(data + b"".join(self.early))
        self.up = u

    def connection_lost(self, e):
        pass


async def main():
    global LOOP
    LOOP = asyncio.get_running_loop()
    server = await LOOP.create_server(Down, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    if "tls" in OPTIONS:
        port, cert, key = OPTIONS["tls"].split(",")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        await LOOP.create_server(Down, "127.0.0.1", int(port), ssl=context, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":  # bench/hot_path.py drives its protocols without a socket
    uvloop.run(main())
