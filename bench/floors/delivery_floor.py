"""The floor of `bench/delivery.py`: the least that a durable webhook pipeline in Python can do. Not a base to build on.

POST a message -> SQLite group commit (fsync) -> 202 -> signed POST to 127.0.0.1:BACKEND -> the attempt recorded in the
next group commit. One process. No endpoints table, no retries, no limits: it is here to be measured beside Gatepost.

    python delivery_floor.py PORT FANOUT [BACKEND]    then: wrk -t1 -c64 -d8s -s post.lua http://127.0.0.1:PORT/

CPU microseconds when it was written (whole process, two cores): 124 a message at fan-out 1, then 72 for each further
delivery. What bought the most: one transaction for many callers, time-ordered keys (random ones cost half more),
composite (message, endpoint) keys, no task a request, one write an HTTP message.
"""

import asyncio
import base64
import hmac
import os
import secrets
import sqlite3
import sys
import threading
import time

import httptools
import msgspec
import uvloop

PORT = int(sys.argv[1])
FAN = int(sys.argv[2]) if len(sys.argv) > 2 else 1
BACKEND = int(sys.argv[3]) if len(sys.argv) > 3 else 9000
SCHEMA = """
create table message(id text primary key, app text, type text, payload blob, ts real) without rowid;
create table delivery(msg text, ep text, state int, due real, primary key(msg,ep)) without rowid;
create table attempt(id integer primary key, delivery text, status int, ms real, ts real, resp blob);
create index due on delivery(due) where state=0;
"""
for f in ("e.db", "e.db-wal", "e.db-shm"):
    try:
        os.remove(f)
    except FileNotFoundError:
        pass


class Msg(msgspec.Struct):
    event_type: str
    payload: msgspec.Raw
    event_id: str | None = None


dec = msgspec.json.Decoder(Msg)
SEC = secrets.token_bytes(32)


class Store(threading.Thread):
    def __init__(self, loop):
        super().__init__(daemon=True)
        self.loop = loop
        self.q = []
        self.ev = threading.Event()
        self.lock = threading.Lock()
        self.commits = 0

    def run(self):
        c = sqlite3.connect("e.db", isolation_level=None)
        c.execute("pragma journal_mode=wal")
        c.execute("pragma synchronous=full")
        c.executescript(SCHEMA)
        while True:
            self.ev.wait()
            self.ev.clear()
            with self.lock:
                b, self.q = self.q, []
            if not b:
                continue
            ms = [x for k, x, f in b if k == 0]
            at = [x for k, x, f in b if k == 1]
            c.execute("begin immediate")
            if ms:
                c.executemany("insert into message values(?,?,?,?,?)", [m[:5] for m in ms])
                c.executemany("insert into delivery values(?,?,0,?)", [d for m in ms for d in m[5]])
            if at:
                c.executemany(
                    "insert into attempt(delivery,status,ms,ts,resp) values(?,?,?,?,?)", [(a[0][0], *a[1:]) for a in at]
                )
                c.executemany("update delivery set state=1,due=null where msg=? and ep=?", [a[0] for a in at])
            c.execute("commit")
            self.commits += 1
            fs = [f for k, x, f in b if f]
            self.loop.call_soon_threadsafe(done, fs)

    def put(self, k, x, f):
        with self.lock:
            self.q.append((k, x, f))
        self.ev.set()


def done(fs):
    for f in fs:
        f()


POOL = []
WAIT = []
NCONN = [0]
cnt = [0, 0]


class Up:
    def connection_made(self, t):
        self.t = t

    def send(self, d, data):
        self.d = d
        self.p = httptools.HttpResponseParser(self)
        self.t0 = time.monotonic()
        self.body = b""
        self.t.write(data)

    def data_received(self, x):
        self.p.feed_data(x)

    def eof_received(self):
        pass

    def pause_writing(self):
        pass

    def resume_writing(self):
        pass

    def on_body(self, b):
        self.body += b

    def on_message_complete(self):
        st = self.p.get_status_code()
        d = self.d
        POOL.append(self)
        cnt[1] += 1
        STORE.put(1, (d, st, time.monotonic() - self.t0, time.time(), self.body), None)
        if WAIT:
            nxt = WAIT.pop()
            start(*nxt)

    def connection_lost(self, e):
        try:
            POOL.remove(self)
        except ValueError:
            pass


def start(mid, did, payload):
    ts = str(int(time.time()))
    sig = base64.b64encode(hmac.digest(SEC, f"{mid}.{ts}.".encode() + payload, "sha256"))
    data = (
        b"POST /hook HTTP/1.1\r\nhost: 127.0.0.1:9000\r\ncontent-type: application/json\r\nuser-agent: x/1\r\n"
        b"webhook-id: %b\r\nwebhook-timestamp: %b\r\nwebhook-signature: v1,%b\r\ncontent-length: %d\r\n\r\n"
        % (mid.encode(), ts.encode(), sig, len(payload))
        + payload
    )
    if POOL:
        POOL.pop().send(did, data)
    elif NCONN[0] < 64:
        NCONN[0] += 1
        asyncio.ensure_future(conn(did, data))  # noqa: RUF006 - the floor keeps nothing that it can do without
    else:
        WAIT.append((mid, did, payload))


async def conn(did, data):
    _, u = await LOOP.create_connection(Up, "127.0.0.1", BACKEND)
    u.send(did, data)


class Down:
    def connection_made(self, t):
        self.t = t
        self.p = httptools.HttpRequestParser(self)

    def data_received(self, d):
        self.p.feed_data(d)

    def eof_received(self):
        pass

    def pause_writing(self):
        pass

    def resume_writing(self):
        pass

    def on_message_begin(self):
        self.url = b""
        self.body = b""
        self.auth = None

    def on_url(self, u):
        self.url += u

    def on_header(self, n, v):
        if n.lower() == b"authorization":
            self.auth = v

    def on_body(self, b):
        self.body += b

    def on_message_complete(self):
        m = dec.decode(self.body)
        mid = f"msg_{int(time.time() * 1e6):013x}{secrets.token_hex(8)}"
        now = time.time()
        ds = [(mid, f"ep_{i}", now) for i in range(FAN)]
        p = bytes(m.payload)

        def committed():
            b = b'{"id":"%b"}' % mid.encode()
            self.t.write(
                b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(b) + b
            )
            cnt[0] += 1
            for d in ds:
                start(mid, d[:2], p)

        STORE.put(0, (mid, "app", m.event_type, p, now, ds), committed)

    def connection_lost(self, e):
        pass


async def main():
    global LOOP, STORE
    LOOP = asyncio.get_running_loop()
    STORE = Store(LOOP)
    STORE.start()
    server = await LOOP.create_server(Down, "127.0.0.1", PORT)
    await server.serve_forever()


uvloop.run(main())
