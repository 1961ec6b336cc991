-- 10,000 different paths in turn, made beforehand.
local requests, at = {}, 0
function init(args)
  for i = 1, 10000 do
    requests[i] = wrk.format("GET", "/customers/" .. i .. "/orders/" .. (i * 7919) % 100003)
  end
end
function request()
  at = at % 10000 + 1
  return requests[at]
end
