import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.server.routing import Candidate, Found, MethodNotAllowed, NotFound, Outcome, Router, RouteTie, host_name


class Head:
    """Fields as they came."""

    def __init__(self, *fields: tuple[bytes, bytes]) -> None:
        self._fields = fields

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self._fields if key == name), None)

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self._fields if key == name]


EMPTY = Head()


class Routes:
    """Routes written as `"GET,POST example.com/path"`, each named (and valued) by its own text."""

    def __init__(self, *texts: str) -> None:
        self.router = Router[str]()
        for text in texts:
            self.add(text)

    def add(self, text: str, headers: dict[str, str] | None = None, name: str = "") -> None:
        methods, _, where = text.rpartition(" ")
        host, slash, path = where.partition("/")
        self.router.add(
            name or text,
            slash + path,
            name or text,
            hosts=[host] if host else [],
            methods=methods.split(",") if methods else [],
            headers=headers,
        )

    def find(self, path: str, method: bytes = b"GET", host: bytes = b"", head: Head = EMPTY) -> Outcome[str]:
        return self.router.find(host, path, method, head)

    def name(self, path: str, method: bytes = b"GET", host: bytes = b"", head: Head = EMPTY) -> str | None:
        found = self.find(path, method, host, head)
        return found.value if isinstance(found, Found) else None


# Paths


def test_a_path_is_exact_to_the_slash() -> None:
    routes = Routes("/orders", "/orders/new/")
    assert routes.name("/orders") == "/orders"
    assert routes.name("/orders/new/") == "/orders/new/"
    for path in ("/", "/orders/", "/orders/new", "/Orders", "/orders2", "/order"):
        assert routes.find(path) == NotFound()


def test_parameters_take_one_whole_segment() -> None:
    routes = Routes("/orders/{id}/items/{item}")
    assert routes.find("/orders/7/items/a") == Found("/orders/{id}/items/{item}", {"id": "7", "item": "a"})
    for path in ("/orders//items/a", "/orders/7/items/", "/orders/7/items", "/orders/7/items/a/b"):
        assert routes.find(path) == NotFound()


def test_parameters_are_decoded() -> None:
    routes = Routes("/p/{x}")
    assert routes.find("/p/caf%C3%A9%20%2Fx") == Found("/p/{x}", {"x": "café /x"})
    assert routes.find("/p/%FF") == Found("/p/{x}", {"x": "�"})


def test_a_prefix_takes_itself_and_everything_below() -> None:
    routes = Routes("/api/*")
    for path in ("/api", "/api/", "/api/x", "/api/x/y/"):
        assert routes.name(path) == "/api/*"
    assert routes.name("/apiary") is None
    assert Routes("/*").name("/") == "/*"
    assert Routes("/u/{id}/*").find("/u/7/x/y") == Found("/u/{id}/*", {"id": "7"})


def test_literals_win_over_parameters_and_those_over_prefixes_segment_by_segment() -> None:
    routes = Routes("/*", "/a/*", "/{x}", "/a", "/a/{x}/c", "/{y}/b/c", "/a/b/*")
    assert routes.name("/a") == "/a"
    assert routes.name("/b") == "/{x}"
    assert routes.name("/a/b/c") == "/a/b/*"
    assert routes.name("/a/b/d") == "/a/b/*"
    assert routes.name("/a/x/c") == "/a/{x}/c"
    assert routes.name("/a/x/d") == "/a/*"
    assert routes.name("/z/b/c") == "/{y}/b/c"
    assert routes.name("/z/z/z") == "/*"


def test_the_walk_turns_back_from_a_dead_end() -> None:
    routes = Routes("/a/b/c", "/a/{x}/d", "/{y}/b/e")
    assert routes.find("/a/b/d") == Found("/a/{x}/d", {"x": "b"})
    assert routes.find("/a/b/e") == Found("/{y}/b/e", {"y": "a"})


def test_a_reserved_character_matches_however_it_was_written() -> None:
    routes = Routes("/*", "/admin!", "/caf\N{LATIN SMALL LETTER E WITH ACUTE}", "/a%20b", "/%7Bx%7D", "/%2A")
    assert routes.name("/admin%21") == "/admin!"
    assert routes.name("/caf%C3%A9") == "/caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    assert routes.name("/a%20b") == "/a%20b"
    assert routes.name("/{x}") == routes.name("/%7Bx%7D") == "/%7Bx%7D"
    assert routes.name("/*") == "/%2A"


def test_the_asterisk_of_options_is_no_path() -> None:
    assert Routes("/*").find("*", b"OPTIONS") == NotFound()


# Hosts


def test_hosts_win_exact_then_longest_wildcard_then_any() -> None:
    routes = Routes("/", "*.example.com/", "*.eu.example.com/", "api.example.com/")
    assert routes.name("/", host=b"api.example.com") == "api.example.com/"
    assert routes.name("/", host=b"x.example.com") == "*.example.com/"
    assert routes.name("/", host=b"x.eu.example.com") == "*.eu.example.com/"
    assert routes.name("/", host=b"x.y.eu.example.com") == "*.eu.example.com/"
    assert routes.name("/", host=b"example.com") == "/"  # a wildcard stands for a label or more
    assert routes.name("/", host=b"") == "/"


def test_hosts_are_compared_without_case_port_and_trailing_dot() -> None:
    routes = Routes("API.example.com/", "[::1]/")
    for host in (b"api.example.com", b"Api.Example.COM", b"api.example.com:8080", b"api.example.com.:80"):
        assert routes.name("/", host=host) == "API.example.com/"
    for host in (b"[::1]", b"[::1]:80", b"[0:0::0:1]"):
        assert routes.name("/", host=host) == "[::1]/"
    assert host_name(b"[not an address]") == b"[not an address]"


def test_a_host_without_a_fitting_path_gives_way_to_a_less_specific_one() -> None:
    routes = Routes("api.example.com/a", "*.example.com/b", "/*")
    assert routes.name("/a", host=b"api.example.com") == "api.example.com/a"
    assert routes.name("/b", host=b"api.example.com") == "*.example.com/b"
    assert routes.name("/c", host=b"api.example.com") == "/*"


def test_one_route_may_have_many_hosts() -> None:
    router = Router[int]()
    router.add("both", "/", 1, hosts=["a.example", "b.example", "A.example."])
    assert router.find(b"a.example", "/", b"GET", EMPTY) == Found(1, {})
    assert router.find(b"b.example", "/", b"GET", EMPTY) == Found(1, {})
    assert router.find(b"c.example", "/", b"GET", EMPTY) == NotFound()
    assert router.ties == []


def test_hosts_of_clients_do_not_fill_the_memory() -> None:
    routes = Routes("a.example/")
    for number in range(10_000):
        routes.find("/", host=b"%d.example" % number)
    assert len(routes.router._kept) <= 4096
    assert routes.name("/", host=b"a.example") == "a.example/"


# Methods


def test_another_method_is_405_with_those_that_would_do() -> None:
    routes = Routes("GET,POST /orders", "DELETE /orders")
    assert routes.find("/orders", b"PUT") == MethodNotAllowed(b"DELETE, GET, HEAD, POST")


def test_a_route_without_the_method_gives_way_to_a_less_specific_one() -> None:
    routes = Routes("GET /orders/new", "POST /orders/{id}", "/legacy/*", "GET /legacy/x")
    assert routes.name("/orders/new", b"POST") == "POST /orders/{id}"
    assert routes.name("/legacy/x", b"POST") == "/legacy/*"
    assert routes.find("/orders/new", b"PUT") == MethodNotAllowed(b"GET, HEAD, POST")


def test_a_named_method_wins_over_a_route_for_every_method() -> None:
    routes = Routes("/a", "POST /a")
    assert routes.name("/a", b"POST") == "POST /a"
    assert routes.name("/a", b"PATCH") == "/a"


def test_head_follows_get_unless_a_route_names_it() -> None:
    assert Routes("GET /a", "/a").name("/a", b"HEAD") == "GET /a"
    assert Routes("GET /a", "HEAD /a").name("/a", b"HEAD") == "HEAD /a"
    assert Routes("HEAD /a").find("/a") == MethodNotAllowed(b"HEAD")


# Headers


def test_headers_are_exact_or_present_and_more_of_them_win() -> None:
    routes = Routes()
    routes.add("/a", name="plain")
    routes.add("/a", {"X-Version": "*"}, "any version")
    routes.add("/a", {"X-Version": "2"}, "version 2")
    routes.add("/a", {"X-Version": "2", "X-Beta": "*"}, "beta")
    assert routes.router.ties == []
    assert routes.name("/a") == "plain"
    assert routes.name("/a", head=Head((b"x-version", b"1"))) == "any version"
    assert routes.name("/a", head=Head((b"x-version", b"2"))) == "version 2"
    assert routes.name("/a", head=Head((b"x-version", b"2"), (b"x-beta", b""))) == "beta"


def test_a_header_given_twice_equals_neither_value() -> None:
    routes = Routes()
    routes.add("/a", {"X-Tenant": "a"}, "a")
    routes.add("/a", {"X-Tenant": "b"}, "b")
    assert routes.name("/a", head=Head((b"x-tenant", b"a"))) == "a"
    assert routes.find("/a", head=Head((b"x-tenant", b"a"), (b"x-tenant", b"b"))) == NotFound()


def test_a_method_of_a_route_whose_headers_do_not_match_is_not_allowed() -> None:
    routes = Routes()
    routes.add("POST /a", {"X-Beta": "*"}, "beta")
    routes.add("PUT /a", name="put")
    assert routes.find("/a", b"GET") == MethodNotAllowed(b"PUT")
    assert routes.find("/a", b"GET", head=Head((b"x-beta", b"1"))) == MethodNotAllowed(b"POST, PUT")
    assert routes.find("/a", b"POST") == MethodNotAllowed(b"PUT")


# Preflights


def preflight(method: bytes) -> Head:
    return Head((b"origin", b"https://shop.example"), (b"access-control-request-method", method))


def test_a_preflight_finds_the_route_of_the_method_it_asks_for() -> None:
    routes = Routes("GET /a", "POST /a", "OPTIONS /a", "/*")
    assert routes.name("/a", b"OPTIONS", head=preflight(b"POST")) == "POST /a"
    assert routes.name("/a", b"OPTIONS", head=preflight(b"GET")) == "GET /a"
    assert routes.name("/a", b"OPTIONS") == "OPTIONS /a"
    assert routes.name("/a", b"OPTIONS", head=Head((b"origin", b"null"))) == "OPTIONS /a"


def test_a_preflight_for_a_method_that_nobody_takes_is_an_ordinary_options() -> None:
    assert Routes("GET,OPTIONS /a").name("/a", b"OPTIONS", head=preflight(b"PUT")) == "GET,OPTIONS /a"
    assert Routes("GET /a").find("/a", b"OPTIONS", head=preflight(b"PUT")) == MethodNotAllowed(b"GET, HEAD")


# Ties


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a", "/a"),
        ("GET,POST /a", "PUT,POST /a"),
        ("/u/{id}", "/u/{name}"),
        ("/u/*", "/u/*"),
        ("a.example/", "A.EXAMPLE./"),
        ("/a!", "/a%21"),
    ],
)
def test_two_routes_that_nothing_tells_apart_are_a_tie(first: str, second: str) -> None:
    routes = Routes()
    routes.add(first, name="first")
    routes.add(second, name="second")
    assert [(tie.a, tie.b) for tie in routes.router.ties] == [("first", "second")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("GET /a", "POST /a"),
        ("GET /a", "HEAD /a"),
        ("/a", "GET /a"),
        ("/u/{id}", "/u/*"),
        ("a.example/", "b.example/"),
        ("/a", "/a/"),
    ],
)
def test_what_differs_is_no_tie(first: str, second: str) -> None:
    assert Routes(first, second).router.ties == []


def test_headers_that_one_request_can_all_have_are_a_tie() -> None:
    def ties(one: dict[str, str], other: dict[str, str]) -> list[RouteTie]:
        routes = Routes()
        routes.add("/a", one, "one")
        routes.add("/a", other, "other")
        return routes.router.ties

    assert len(ties({"X-A": "1"}, {"X-B": "1"})) == 1
    assert len(ties({"X-A": "1"}, {"x-a": "1"})) == 1
    assert len(ties({"X-A": "*"}, {"X-A": "*"})) == 1
    assert ties({"X-A": "1"}, {"X-A": "2"}) == []
    assert ties({"X-A": "1"}, {"X-A": "*"}) == []
    assert ties({"X-A": "1"}, {"X-A": "1", "X-B": "1"}) == []


def test_a_tie_says_what_both_take() -> None:
    routes = Routes()
    routes.add("GET,POST /a", name="one")
    routes.add("POST /a", name="other")
    assert routes.router.ties == [RouteTie("one", "other", "both take POST on /a")]


def test_a_pair_ties_once_over_many_hosts() -> None:
    router = Router[int]()
    for name in ("one", "other"):
        router.add(name, "/", 0, hosts=["a.example", "b.example"])
    assert len(router.ties) == 1


# What can't be a route


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "begins with '/'"),
        ("orders", "begins with '/'"),
        ("*", "begins with '/'"),
        ("/{id}/{id}", "twice"),
        ("/*/x", "last segment"),
        ("/a*", "last segment"),
        ("/a/**", "last segment"),
        ("/x{id}", "whole segment"),
        ("/{}", "whole segment"),
        ("/{a-b}", "whole segment"),
        ("/{id", "whole segment"),
        ("/a//b", "normalised"),
        ("/a//*", "normalised"),
        ("/a/../b", "normalised"),
        ("/./a", "normalised"),
        ("/a?b", "no request"),
        ("/a#b", "no request"),
        ("/a\\b", "no request"),
        ("/a%zz", "no request"),
        ("/a%00", "no request"),
        ("/..", "no request"),
    ],
)
def test_a_path_that_could_never_match_is_refused(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Router[int]().add("r", path, 0)


@pytest.mark.parametrize(
    "host",
    ["", "*", "a.example:80", "http://a.example", "*.*.example", "a.*", "caf\xe9.example", "a/b", "*.[::1]", "::1"],
)
def test_a_host_that_could_never_match_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="a host is a name"):
        Router[int]().add("r", "/", 0, hosts=[host])


def test_methods_and_headers_are_checked() -> None:
    for method in ("get", "", "G T"):
        with pytest.raises(ValueError, match="upper case"):
            Router[int]().add("r", "/", 0, methods=[method])
    for headers in ({"": "x"}, {"a b": "x"}, {"a": " x"}, {"a": "x\r\ny"}):
        with pytest.raises(ValueError, match="header"):
            Router[int]().add("r", "/", 0, headers=headers)


# Explain


def test_explain_lists_what_was_looked_at_and_why_it_did_not_match() -> None:
    routes = Routes("api.example.com/orders/{id}", "other.example.com/*")
    routes.add("PUT /orders/*", name="put")
    routes.add("/orders/{id}", {"X-Beta": "*"}, "beta")
    routes.add("/orders/7", {"X-Beta": "2"}, "two")
    routes.add("GET /*", name="rest")
    head = Head((b"x-beta", b"1"))
    assert routes.router.explain(b"www.example.com", "/orders/7", b"GET", EMPTY) == [
        Candidate("two", "/orders/7", "the header 'x-beta' is not '2'"),
        Candidate("beta", "/orders/{id}", "the header 'x-beta' is missing"),
        Candidate("put", "/orders/*", "GET is not one of its methods PUT"),
        Candidate("rest", "/*", ""),
    ]
    assert [c.name for c in routes.router.explain(b"", "/orders/7", b"GET", head)] == ["two", "beta"]
    assert routes.router.explain(b"api.example.com:80", "/orders/7", b"GET", head) == [
        Candidate("api.example.com/orders/{id}", "api.example.com/orders/{id}", "")
    ]


def test_explain_names_the_hosts_that_would_have_done_where_none_does() -> None:
    routes = Routes("a.example/x", "*.b.example/x", "b.example/y")
    assert routes.router.explain(b"c.example", "/x", b"GET", EMPTY) == [
        Candidate("a.example/x", "a.example/x", "the host is not a.example"),
        Candidate("*.b.example/x", "*.b.example/x", "the host is not *.b.example"),
    ]
    assert routes.router.explain(b"c.example", "/z", b"GET", EMPTY) == []


def test_explain_follows_a_preflight() -> None:
    routes = Routes("GET /a", "POST /a")
    assert [c.name for c in routes.router.explain(b"", "/a", b"OPTIONS", preflight(b"POST"))] == ["POST /a"]
    assert [c.reason for c in routes.router.explain(b"", "/a", b"OPTIONS", preflight(b"PUT"))] == [
        "OPTIONS is not one of its methods GET",
        "OPTIONS is not one of its methods POST",
    ]


# Against a model: try every route, sort what matches


PATTERNS = st.builds(
    lambda parts, tail: "/" + "/".join([part.replace("x", f"x{at}") for at, part in enumerate(parts)] + tail),
    st.lists(st.sampled_from(["a", "b", "{x}"]), max_size=3),
    st.sampled_from([[], ["*"]]),
)
METHODS = st.sampled_from(["", "GET", "POST", "GET,POST"])
ROUTES = st.lists(st.tuples(PATTERNS, METHODS, st.sampled_from(["", "h.example", "*.example"])), max_size=8)


def specificity(pattern: str) -> list[int]:
    """A literal before a parameter before a prefix; where a path has ended, that is as good as a literal."""
    return [1 if segment.startswith("{") else 2 if segment == "*" else 0 for segment in [*pattern.split("/"), "end"]]


def fits(pattern: str, path: str) -> bool:
    parts, prefix = pattern[1:].split("/"), False
    if parts[-1] == "*":
        parts, prefix = parts[:-1], True
    segments = path[1:].split("/")
    if len(segments) < len(parts) or (len(segments) > len(parts) and not prefix):
        return False
    return all(p == s or (p.startswith("{") and s != "") for p, s in zip(parts, segments, strict=False))


@given(
    ROUTES,
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=4),
    st.sampled_from([b"GET", b"HEAD", b"PUT"]),
    st.sampled_from([b"h.example", b"i.example", b"other"]),
)
def test_the_tree_finds_what_a_search_of_all_routes_finds(
    texts: list[tuple[str, str, str]], parts: list[str], method: bytes, host: bytes
) -> None:
    routes = Routes()
    added = list(dict.fromkeys(texts))
    for number, (pattern, methods, where) in enumerate(added):
        routes.add(f"{methods} {where}{pattern}".strip(), name=str(number))
    path = "/" + "/".join(parts)
    hosts = {b"h.example": ["h.example", "*.example", ""], b"i.example": ["*.example", ""], b"other": [""]}[host]
    spoken = "GET" if method == b"HEAD" else method.decode()

    def rank(route: tuple[str, str, str]) -> tuple[int, list[int], bool]:
        return hosts.index(route[2]), specificity(route[0]), not route[1]

    here = [route for route in added if route[2] in hosts and fits(route[0], path)]
    takers = [route for route in here if not route[1] or spoken in route[1].split(",")]
    found = routes.find(path, method, host)
    if takers:
        assert isinstance(found, Found)
        assert rank(added[int(found.value)]) == min(map(rank, takers))
    else:
        assert isinstance(found, MethodNotAllowed if here else NotFound)
