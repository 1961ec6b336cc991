"""The network, as adapters: what the engines need of sockets, names and certificates, and nothing of HTTP.

- `listen.py`: listening sockets. `accepting.py`: connections on which something comes before HTTP.
  `proxy_protocol.py`: what a load balancer says of a connection.
- `url.py`: the one parse of outgoing URLs. `resolve.py`: names to addresses, cached by their TTL, through
  `cares.py`. `guard.py`: which addresses may be connected to. `dial.py` joins the three: it connects to exactly the
  address that was checked. `fetch.py`: what the gateway asks others over HTTP, on top of them.
- `tls.py`: contexts for both sides. `addresses.py`: sets of networks, and one spelling of an address.
- `deadlines.py`: one sweep for all time-outs.
"""
