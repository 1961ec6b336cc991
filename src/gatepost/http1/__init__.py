"""HTTP/1.1 as pure code: bytes in, values out, no sockets and no clock.

- `messages.py`: what a head says. `fields.py`: its fields, as bytes until somebody looks.
- `framing.py`: the rules that llhttp leaves to us, and which fields are the gateway's own.
- `request.py`: one head at a time through llhttp, then through those rules; `response.py`: one head by its lines.
- `whole.py`: a whole response, bounded, to what the gateway itself asks.
- `chunked.py`: the chunked coding, both ways. `websocket.py`: where frames end, so that a Close fits between two.
- `targets.py`: what a request target names: the one rule for paths.
- `accept.py`: which media type a client likes best.
- `writer.py`: heads as bytes.

llhttp (through httptools) cannot pause, gives no offsets and does not stop at a limit, so it never sees a stream: the
caller cuts a head at its empty line, counts it, and hands it in whole. Bodies are cut by their length or by
`chunked.py`. What llhttp refuses stays refused: no lenient flag is set anywhere, and what is read without it (chunks,
responses) is held by property tests to take nothing that it refuses.
"""
