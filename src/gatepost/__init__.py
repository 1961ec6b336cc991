"""Gatepost: an event gateway.

It stands in front of a company's APIs, turns what happens there into durable *messages*, and brings each
message to everyone who asked for it: as signed, retried webhooks and as live pushes to browsers.

Read the packages in the order traffic meets them:

- `server` accepts a connection, parses a request (`http1`), finds its *route* in the *snapshot* and runs
  the route's `policies`; what passes between them is one `exchange.Exchange`.
- `upstream` forwards the exchange to a *target* of the route's *service* over pooled connections (`net`).
- `events` makes a *message* of an exchange (`emit`) or of an API call, and writes it with its *deliveries*
  into the store (`stores`) before anyone is told that it was accepted.
- `deliveries` takes each delivery from its endpoint's *lane*, signs it (`signatures`), hands it to a
  destination (`destinations`) and records the *attempt*.
- `realtime` streams the messages of a *channel* to browsers.

Above them, cold: `config` reads `gatepost.yaml`, `compile` turns it into the snapshot, `api` is the control
API, `app` wires everything and owns the order of start and stop, `cli` is what a person types.
"""

__version__ = "0.1.0.dev0"
