-- Create a message: the admin token is the first argument ("-" for the floor, which asks for none).
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"%s":"order.created","payload":{"event":"new_order","data":{"order_id":12345,"customer_name":"John Doe","total_amount":100.0,"items":[{"sku":"a","qty":1},{"sku":"b","qty":2}]}}}'
function init(args)
  wrk.headers["Authorization"] = "Bearer " .. args[1]
  wrk.body = string.format(wrk.body, args[1] == "-" and "event_type" or "eventType")
end
