-- Each request for another of so many routes (`node.many_routes`), in an order that jumps.
local requests, at = {}, 0
function init(args)
  local routes = tonumber(args[1])
  for i = 1, routes do
    local n = (i * 7919) % routes
    requests[i] = wrk.format("GET", "/api/v" .. n % 10 .. "/things-" .. n .. "/" .. i)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
