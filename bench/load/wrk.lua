-- Requests for wrk. Environment variables:
--   METHOD      GET or POST
--   PATHS       file with one path per line; the paths are requested in turn
--   BODY_BYTES  size of each body; every request has a different body
--   SEED        number; different seeds give different bodies
-- Prints one line of JSON at the end.
local paths, body_bytes, sent = {}, tonumber(os.getenv("BODY_BYTES")), 0
for path in io.lines(os.getenv("PATHS")) do paths[#paths + 1] = path end

math.randomseed(tonumber(os.getenv("SEED")))
local filler = {}
for i = 1, body_bytes - 16 do filler[i] = string.char(math.random(0, 255)) end
filler = table.concat(filler)

wrk.method = os.getenv("METHOD")
if body_bytes > 0 then wrk.headers["Content-Type"] = "application/octet-stream" end

function request()
    local path, body = paths[sent % #paths + 1], wrk.method == "POST" and "" or nil
    sent = sent + 1
    if body_bytes > 0 then body = string.format("%016d", sent) .. filler end
    return wrk.format(nil, path, nil, body)
end

function done(summary)
    local errors = summary.errors
    print(string.format('{"responses": %d, "seconds": %.6f, "errors": %d}', summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
