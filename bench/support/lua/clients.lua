-- Every request from another client: X-Client counts up from the first argument.
local at = 0
function init(args) at = tonumber(args[1]) end
function request()
  at = at + 1
  wrk.headers["X-Client"] = "client-" .. at
  return wrk.format()
end
