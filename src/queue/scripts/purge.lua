-- KEYS stream, delayed; ARGV again, later. The groups stay; what was removed is counted.
local count = redis.call('ZCARD', KEYS[2])
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 0 then return count end
count = count + redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    for n = 1, #flat, 2 do
        if flat[n] == 'name' then
            local again, later = ARGV[1] .. flat[n + 1], ARGV[2] .. flat[n + 1]
            count = count + redis.call('ZCARD', later)
            redis.call('DEL', later)
            if redis.call('EXISTS', again) == 1 then
                count = count + redis.call('XTRIM', again, 'MAXLEN', 0)
            end
        end
    end
end
return count
