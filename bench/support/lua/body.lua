-- POST the JSON of a file.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
function init(args)
  wrk.body = io.open(args[1]):read("*a")
end
