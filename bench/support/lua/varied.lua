-- 10,000 different heads in turn, made beforehand: other paths, sessions and traces, as a crowd of clients sends them.
local requests, at = {}, 0
function init(args)
  for i = 1, 10000 do
    wrk.headers["Cookie"] = string.format("session=%032x; theme=dark", i * 7919)
    wrk.headers["X-Client-Trace"] = string.format("%016x", i * 104729)
    requests[i] = wrk.format("GET", "/customers/" .. i .. "/orders/" .. (i * 7919) % 100003)
  end
end
function request()
  at = at % 10000 + 1
  return requests[at]
end
