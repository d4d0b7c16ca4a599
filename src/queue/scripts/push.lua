-- KEYS stream, delayed; ARGV max_len (0: none), `at` or `in`, milliseconds, id, payload, key (if any)
local max = tonumber(ARGV[1])
if max > 0 then
    local length = redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])
    if length >= max then
        return redis.error_reply('FULL ' .. length .. ' messages are on this node, `max_len` is ' .. ARGV[1])
    end
end
local m = { i = ARGV[4], a = 0, p = ARGV[5], k = ARGV[6] }
local due = tonumber(ARGV[3])
if ARGV[2] == 'in' and due > 0 then due = now + due end
if due <= now then return add(KEYS[1], m) end
redis.call('ZADD', KEYS[2], string.format('%d', due), pack(m))
return 'later'
