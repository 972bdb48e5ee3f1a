-- Requests for wrk, told by the environment:
--   METHOD      GET or POST
--   PATHS       a file, one path a line; they are asked for in turn
--   BODY_BYTES  size of the body, different in every request
--   SEED        a number: bodies of other seeds are different
-- Prints one line of JSON at the end.
local paths, body_bytes, asked = {}, tonumber(os.getenv("BODY_BYTES")), 0
for path in io.lines(os.getenv("PATHS")) do paths[#paths + 1] = path end

math.randomseed(tonumber(os.getenv("SEED")))
local filler = {}
for i = 1, body_bytes - 16 do filler[i] = string.char(math.random(0, 255)) end
filler = table.concat(filler)

wrk.method = os.getenv("METHOD")
if body_bytes > 0 then wrk.headers["Content-Type"] = "application/octet-stream" end

function request()
    local path, body = paths[asked % #paths + 1], wrk.method == "POST" and "" or nil
    asked = asked + 1
    if body_bytes > 0 then body = string.format("%016d", asked) .. filler end
    return wrk.format(nil, path, nil, body)
end

function done(summary)
    local errors = summary.errors
    print(string.format('{"answered": %d, "seconds": %.6f, "refused": %d}', summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
