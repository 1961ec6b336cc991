"""Routes: which one takes a request. docs/routing.md says the rules in full.

    host  (exact, then the longest wildcard, then any)
     └─ path, segment by segment  (a literal, then a {param}, then a /* prefix)
         └─ methods  (named, then any)
             └─ headers  (more conditions first)

A route takes a request only if all four match; of those that take it, the most specific wins, compared in this order.
So a route whose path fits but whose methods do not gives way to a less specific one, and 405 is the answer only where
nobody takes the method. What is found costs by the depth of the path, not by the number of routes: full paths without
parameters are found in one dict, all others by walking a tree with backtracking.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv6Address
from itertools import chain
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar
from urllib.parse import quote, unquote

from gatepost.errors import ProtocolError
from gatepost.http1.targets import normalise

T = TypeVar("T")


class Head(Protocol):
    """What routing reads of a request's head: the values of a field, by its lower-case name."""

    def get(self, name: bytes) -> bytes | None: ...
    def all(self, name: bytes) -> list[bytes]: ...


class Found(NamedTuple, Generic[T]):
    """`params` holds the decoded segments by the names of the path's `{param}`s. Shared: read it, don't change it."""

    value: T
    params: dict[str, str]


class NotFound(NamedTuple):
    """No route has this host and path (and, where methods fit, these headers)."""


class MethodNotAllowed(NamedTuple):
    """Routes take this path, but not with this method. `allow` is the value of the Allow field."""

    allow: bytes


Outcome: TypeAlias = Found[T] | NotFound | MethodNotAllowed


class RouteTie(NamedTuple):
    """Two routes that could take the same request while none is more specific: an error of the configuration."""

    a: str
    b: str
    why: str


class Candidate(NamedTuple):
    """A route that was looked at. `reason` says why it did not match; it is empty for the one that did."""

    name: str
    pattern: str  # host and path, as in the configuration
    reason: str


class Router(Generic[T]):
    """Finds the value of the most specific route. Filled by `add`, then only read.

    `ties` lists the pairs of routes that are not told apart; the first added of a pair would win.
    """

    __slots__ = ("_any", "_conditional", "_exact", "_found", "_kept", "_wildcards", "ties")

    def __init__(self) -> None:
        self.ties: list[RouteTie] = []
        self._conditional = False  # a route asks for headers
        self._any: _Tree[T] = _Tree("")
        self._exact: dict[bytes, _Tree[T]] = {}
        self._wildcards: dict[bytes, _Tree[T]] = {}  # by what follows the "*"
        # What was found lately, where only host, path and method decided: the same ones come again and again.
        self._found: dict[tuple[bytes, str, bytes], Found[T]] = {}
        self._kept: dict[bytes, tuple[_Tree[T], ...]] = {}  # Host as received → its trees, the most specific first

    def add(
        self,
        name: str,
        path: str,
        value: T,
        *,
        hosts: Sequence[str] = (),
        methods: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Add one route; about 40 µs. `headers` maps a name to an exact value, or to `*` for "any value".

        Raises ValueError, with a sentence for its author, for a pattern that could never match what it says.
        """
        route = _Route(name, path, value, methods, headers or {})
        self._conditional = self._conditional or bool(headers)
        trees = [self._tree_for(host) for host in hosts] or [self._any]
        for tree in dict.fromkeys(trees):
            for tie in tree.add(route):
                if not any({tie.a, tie.b} == {known.a, known.b} for known in self.ties):
                    self.ties.append(tie)
        self._kept.clear()
        self._found.clear()

    def find(self, host: bytes, path: str, method: bytes, head: Head) -> Outcome[T]:
        """The route for a request: `host` with or without its port, `path` as `http1.targets` normalised it.

        HEAD is taken by routes for GET, unless one names HEAD. A CORS preflight finds the route of the method that it
        asks for; where none takes that, it is an OPTIONS request like any other. `OPTIONS *` finds nothing.
        """
        return self._found.get((host, path, method)) or self._find(host, path, method, head)

    def _find(self, host: bytes, path: str, method: bytes, head: Head) -> Outcome[T]:
        trees = self._kept.get(host) or self._trees(host)
        if method == b"OPTIONS":
            wanted = _preflight(head)
            if wanted:
                outcome = self._walk(trees, path, wanted, head)
                if type(outcome) is Found:
                    return outcome
        leaf = trees[0].full.get(path)
        route = leaf.first(method, head) if leaf is not None else None
        outcome = self._walk(trees, path, method, head) if route is None else route.found
        if type(outcome) is Found and method != b"OPTIONS" and len(path) <= _PATH_KEPT:
            self._keep((host, path, method), outcome, trees)
        return outcome

    def _keep(self, key: tuple[bytes, str, bytes], found: Found[T], trees: tuple[_Tree[T], ...]) -> None:
        if self._conditional:
            segments = _segments(key[1])
            if any(route.headers for tree in trees for leaf in tree.leaves(segments) for route in leaf):
                return  # another request with the same key may find another route
        if len(self._found) >= _FOUND_KEPT:
            self._found.clear()
        self._found[key] = found

    def release(self) -> Iterator[None]:
        """Take the routes apart a few at a time: freed in one go, 10,000 of them stop the loop for 40 ms. Only for a
        router that nobody searches any more."""
        nodes = [tree.root for tree in (self._any, *self._exact.values(), *self._wildcards.values())]
        kept: list[dict[Any, Any]] = [self._found, self._kept]
        kept += [tree.full for tree in (self._any, *self._exact.values(), *self._wildcards.values())]
        for cache in kept:
            while cache:
                cache.popitem()
                yield
        while nodes:
            node = nodes[-1]
            if node.param is not None:
                nodes.append(node.param)
                node.param = None
            elif node.literals:
                nodes.append(node.literals.popitem()[1])
            else:
                node.leaf = node.prefix = None
                nodes.pop()
            yield

    def explain(self, host: bytes, path: str, method: bytes, head: Head) -> list[Candidate]:
        """Every route whose path matches, in the order in which `find` looks at them, up to the one that it takes;
        where it takes none, those of other hosts follow."""
        trees = self._trees(host)
        wanted = (method == b"OPTIONS" and _preflight(head)) or method
        if wanted != method and type(self._walk(trees, path, wanted, head)) is not Found:
            wanted = method
        out: list[Candidate] = []
        for tree in trees:
            for leaf in tree.leaves(_segments(path)):
                for route in leaf.in_order(wanted):
                    reason = route.mismatch(wanted, head)
                    out.append(Candidate(route.name, tree.host + route.pattern, reason))
                    if not reason:
                        return out
        for tree in chain(self._exact.values(), self._wildcards.values()):
            if tree not in trees:
                for leaf in tree.leaves(_segments(path)):
                    out += [Candidate(r.name, tree.host + r.pattern, f"the host is not {tree.host}") for r in leaf]
        return out

    def _walk(self, trees: Iterable[_Tree[T]], path: str, method: bytes, head: Head) -> Outcome[T]:
        segments = _segments(path)
        for tree in trees:
            route = tree.root.first(segments, 0, method, head) if segments else None
            if route is not None:
                if not route.params:
                    return route.found
                params = {name: segments[at] for name, at in route.params}
                if "%" in path:
                    params = {name: _text(value) for name, value in params.items()}
                return Found(route.value, params)
        allowed: set[bytes] = set()
        for tree in trees:
            for leaf in tree.leaves(segments):
                for route in leaf:
                    if _headers_match(route.headers, head):
                        # Never one for every method: it would have been found.
                        allowed |= route.methods
        if not allowed:
            return _NOT_FOUND
        if b"GET" in allowed:
            allowed.add(b"HEAD")
        return MethodNotAllowed(b", ".join(sorted(allowed)))

    def _tree_for(self, pattern: str) -> _Tree[T]:
        wildcard = pattern.startswith("*.")
        name = _host_pattern(pattern[2:] if wildcard else pattern, pattern)
        trees = self._wildcards if wildcard else self._exact
        tree = trees.get(name)
        if tree is None:
            tree = trees[name] = _Tree(pattern)
        return tree

    def _trees(self, host: bytes) -> tuple[_Tree[T], ...]:
        name = host_name(host)
        out = []
        if name in self._exact:
            out.append(self._exact[name])
        _, dot, parent = name.partition(b".")
        while dot:
            if parent in self._wildcards:
                out.append(self._wildcards[parent])
            _, dot, parent = parent.partition(b".")
        out.append(self._any)
        if len(self._kept) >= _HOSTS_KEPT:
            self._kept.clear()
        trees = self._kept[host] = tuple(out)
        return trees


def host_name(host: bytes) -> bytes:
    """What two spellings of a Host have in common: lower case, no port, no trailing dot, IPv6 in its short form."""
    name = host.lower()
    if name[:1] == b"[":
        address, bracket, _ = name[1:].partition(b"]")
        try:
            return b"[%b]" % IPv6Address(address.decode("latin-1")).compressed.encode() if bracket else name
        except ValueError:
            return name
    return name.partition(b":")[0].removesuffix(b".")


_FOUND_KEPT: Final = 16_384
_PATH_KEPT: Final = 256  # characters
_HOSTS_KEPT: Final = 4096  # a client chooses its Host: the memory for it is bounded
_NOT_FOUND: Final = NotFound()
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2
_PARAM: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HOST: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)")

# A header condition: name, and the value or None for any.
_Conditions: TypeAlias = tuple[tuple[bytes, bytes | None], ...]


class _Route(Generic[T]):
    """One route as it was added: parsed and checked."""

    __slots__ = ("found", "headers", "methods", "name", "params", "pattern", "prefix", "rank", "segments", "value")

    def __init__(self, name: str, pattern: str, value: T, methods: Sequence[str], headers: Mapping[str, str]) -> None:
        self.name = name
        self.pattern = pattern
        self.value = value
        self.found = Found[T](value, {})
        self.methods = frozenset(_method(method) for method in methods)
        self.headers: _Conditions = tuple(_condition(field, wanted) for field, wanted in headers.items())
        exact = sum(wanted is not None for _, wanted in self.headers)
        self.rank = (len(self.headers), exact)
        self.prefix = pattern.endswith("/*")
        # A literal's text, or None for a parameter.
        self.segments: list[str | None] = []
        self.params: list[tuple[str, int]] = []
        _check_path(pattern)
        for at, segment in enumerate(pattern.removesuffix("/*")[1:].split("/") if pattern != "/*" else ()):
            param = _PARAM.fullmatch(segment)
            if param is None:
                self.segments.append(_decode(segment))
            else:
                if any(param[1] == known for known, _ in self.params):
                    raise ValueError(f"the parameter {segment} stands twice in {pattern!r}")
                self.params.append((param[1], at))
                self.segments.append(None)

    def mismatch(self, method: bytes, head: Head) -> str:
        """Why this route does not take the request, its host and path given; empty if it does."""
        if self.methods and method not in self.methods and not (method == b"HEAD" and b"GET" in self.methods):
            return f"{method.decode('latin-1')} is not one of its methods {_names(self.methods)}"
        for name, wanted in self.headers:
            if not _headers_match(((name, wanted),), head):
                be = "missing" if wanted is None else f"not {wanted.decode('latin-1')!r}"
                return f"the header {name.decode('latin-1')!r} is {be}"
        return ""

    def tie(self, other: _Route[T]) -> str:
        """Why a request could match both routes of one host and path shape, equally well; empty if none could."""
        if self.rank != other.rank or bool(self.methods) != bool(other.methods):
            return ""
        shared = self.methods & other.methods
        if self.methods and not shared:
            return ""
        own = dict(self.headers)
        if any(own.get(name) not in (None, wanted) and wanted is not None for name, wanted in other.headers):
            return ""  # one field cannot have two values
        why = f"both take {_names(shared) if shared else 'every method'} on {self.pattern}"
        return why + (" with as many headers, which one request can all have" if self.headers else "")


class _Leaf(Generic[T]):
    """The routes of one host and one path shape: for each method those that could take it, the best first."""

    __slots__ = ("_routes", "by_any", "by_method")

    def __init__(self) -> None:
        self._routes: list[_Route[T]] = []
        self.by_method: dict[bytes, tuple[_Route[T], ...]] = {}
        self.by_any: tuple[_Route[T], ...] = ()

    def __iter__(self) -> Iterator[_Route[T]]:
        return iter(self._routes)

    def add(self, route: _Route[T]) -> list[RouteTie]:
        ties = [RouteTie(known.name, route.name, why) for known in self._routes if (why := known.tie(route))]
        self._routes.append(route)
        self._routes.sort(key=lambda r: (-r.rank[0], -r.rank[1]))  # stable: of a tie, the first added
        self.by_any = tuple(r for r in self._routes if not r.methods)
        named = {method for r in self._routes for method in r.methods}
        if b"GET" in named:
            named.add(b"HEAD")  # RFC 9110 §9.3.2: HEAD is GET without the content
        self.by_method = {method: self._for_method(method) for method in named}
        return ties

    def first(self, method: bytes, head: Head) -> _Route[T] | None:
        for route in self.by_method.get(method, self.by_any):
            if not route.headers or _headers_match(route.headers, head):
                return route
        return None

    def in_order(self, method: bytes) -> Iterator[_Route[T]]:
        """Those that could take the method as they are tried, then the others."""
        tried = self.by_method.get(method, self.by_any)
        return chain(tried, (route for route in self._routes if route not in tried))

    def _for_method(self, method: bytes) -> tuple[_Route[T], ...]:
        routes = [r for r in self._routes if method in r.methods]
        if method == b"HEAD":
            routes += [r for r in self._routes if b"GET" in r.methods and b"HEAD" not in r.methods]
        return (*routes, *self.by_any)


class _Node(Generic[T]):
    """One segment deep in a tree."""

    __slots__ = ("leaf", "literals", "param", "prefix")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.param: _Node[T] | None = None
        self.leaf: _Leaf[T] | None = None  # the path ends here
        self.prefix: _Leaf[T] | None = None  # `/*`: it ends here or goes on

    def first(self, segments: Sequence[str], at: int, method: bytes, head: Head) -> _Route[T] | None:
        """The first route of `leaves` that takes the request."""
        route = None
        if at == len(segments):
            if self.leaf is not None:
                route = self.leaf.first(method, head)
        else:
            segment = segments[at]
            child = self.literals.get(segment)
            if child is not None:
                route = child.first(segments, at + 1, method, head)
            if route is None and self.param is not None and segment:
                route = self.param.first(segments, at + 1, method, head)
        if route is None and self.prefix is not None:
            route = self.prefix.first(method, head)
        return route

    def leaves(self, segments: Sequence[str], at: int) -> Iterator[_Leaf[T]]:
        """Every leaf whose path matches, the most specific first."""
        if at == len(segments):
            if self.leaf is not None:
                yield self.leaf
        else:
            segment = segments[at]
            child = self.literals.get(segment)
            if child is not None:
                yield from child.leaves(segments, at + 1)
            if self.param is not None and segment:
                yield from self.param.leaves(segments, at + 1)
        if self.prefix is not None:
            yield self.prefix


class _Tree(Generic[T]):
    """The routes of one host. `full` holds the leaves of paths without parameters, which are always the most specific:
    most requests need no walk."""

    __slots__ = ("full", "host", "root")

    def __init__(self, host: str) -> None:
        self.host = host
        self.root: _Node[T] = _Node()
        self.full: dict[str, _Leaf[T]] = {}

    def add(self, route: _Route[T]) -> list[RouteTie]:
        node = self.root
        for segment in route.segments:
            if segment is not None:
                child = node.literals.get(segment)
                if child is None:
                    child = node.literals[segment] = _Node()
            else:
                child = node.param
                if child is None:
                    child = node.param = _Node()
            node = child
        if route.prefix:
            leaf = node.prefix = node.prefix or _Leaf()
        else:
            leaf = node.leaf = node.leaf or _Leaf()
            if not route.params and "%" not in route.pattern and route.pattern.isascii():
                self.full[route.pattern] = leaf
        return leaf.add(route)

    def leaves(self, segments: Sequence[str]) -> Iterator[_Leaf[T]]:
        return self.root.leaves(segments, 0) if segments else iter(())


def _segments(path: str) -> list[str]:
    """Decoded, so that a reserved character matches however it was written: `/a%21` is `/a!`. Escapes of `/` never
    reach the split. Empty for the asterisk, which is no path."""
    if path[:1] != "/":
        return []
    segments = path[1:].split("/")
    return [_decode(segment) for segment in segments] if "%" in path else segments


def _decode(segment: str) -> str:
    return unquote(segment, errors="surrogateescape")  # two different byte strings stay different


def _text(value: str) -> str:
    """For people and expressions: what is not UTF-8 is U+FFFD."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _headers_match(conditions: _Conditions, head: Head) -> bool:
    for name, wanted in conditions:
        if wanted is None:
            if head.get(name) is None:
                return False
        # RFC 9110 §5.3: a field given twice is one with both values, so it equals neither.
        elif head.get(name) != wanted or b", ".join(head.all(name)) != wanted:
            return False
    return True


def _preflight(head: Head) -> bytes | None:
    """The method that a CORS preflight asks for (Fetch §3.2.2: it has both fields)."""
    return head.get(b"access-control-request-method") if head.get(b"origin") is not None else None


def _names(methods: Iterable[bytes]) -> str:
    return ", ".join(sorted(method.decode() for method in methods))


def _check_path(pattern: str) -> None:
    if not pattern.startswith("/"):
        raise ValueError(f"a path begins with '/': {pattern!r}")
    segments = pattern.removesuffix("/*").split("/")
    for segment in segments:
        if "*" in segment:
            raise ValueError(f"'*' stands alone as the last segment, for everything below: {pattern!r} (or write %2A)")
        if ("{" in segment or "}" in segment) and not _PARAM.fullmatch(segment):
            raise ValueError(
                f"a parameter is a whole segment, {{name}} of letters, digits and _: not {segment!r} in {pattern!r}"
            )
    # Requests are normalised before they are matched: what changes on the way could never match.
    plain = "/".join("x" if _PARAM.fullmatch(segment) else segment for segment in segments)
    if pattern.endswith("/*"):
        plain += "/x"
    try:
        spelling = normalise(quote(plain, safe="".join(map(chr, range(0x21, 0x7F)))).encode())
    except ProtocolError as error:
        raise ValueError(f"no request can have the path {pattern!r}: {error.problem.detail}") from None
    if _segments(spelling) != _segments(plain):
        raise ValueError(f"a path is normalised before it is matched, and {pattern!r} is not")


def _host_pattern(name: str, pattern: str) -> bytes:
    if not _HOST.fullmatch(name) or (pattern != name and name.startswith("[")):
        raise ValueError(
            f"a host is a name like api.example.com, *.example.com or [::1], without a port and in ASCII: {pattern!r}"
        )
    return host_name(name.encode())


def _method(method: str) -> bytes:
    if not _TOKEN.fullmatch(method) or method != method.upper():
        raise ValueError(f"a method is a word in upper case, not {method!r}")
    return method.encode()


def _condition(name: str, wanted: str) -> tuple[bytes, bytes | None]:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")
    if wanted != wanted.strip(" \t") or not wanted.isprintable():
        raise ValueError(f"the header {name} cannot have the value {wanted!r}")
    return name.lower().encode(), None if wanted == "*" else wanted.encode()
