-- KEYS stream, delayed, dead; ARGV again, later (what these keys of a group begin with)
-- {messages, under way, delayed, dead}
local result = { redis.call('XLEN', KEYS[1]), 0, redis.call('ZCARD', KEYS[2]), redis.call('XLEN', KEYS[3]) }
if redis.call('EXISTS', KEYS[1]) == 0 then return result end
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local g = {}
    for n = 1, #flat, 2 do g[flat[n]] = flat[n + 1] end
    local again = ARGV[1] .. g.name
    result[1] = result[1] + redis.call('XLEN', again)
    result[2] = result[2] + g.pending
    if redis.call('EXISTS', again) == 1 then
        for _, other in ipairs(redis.call('XINFO', 'GROUPS', again)) do
            for n = 1, #other, 2 do
                if other[n] == 'pending' then result[2] = result[2] + other[n + 1] end
            end
        end
    end
    result[3] = result[3] + redis.call('ZCARD', ARGV[2] .. g.name)
end
return result
