-- Each request with another value of one field: its name, then the file of the values, one a line.
local requests, at = {}, 0
function init(args)
  for line in io.lines(args[2]) do
    wrk.headers[args[1]] = line
    requests[#requests + 1] = wrk.format("GET", "/")
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
