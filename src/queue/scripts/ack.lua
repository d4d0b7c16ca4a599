-- KEYS stream, kept; ARGV group, own (1: the stream is this group's alone), letter, ids...
-- Gives 1 for each id that was pending, 0 for the others.
local done, ids = {}, {}
for n = 4, #ARGV do
    done[#done + 1] = redis.call('XACK', KEYS[1], ARGV[1], ARGV[n])
    ids[#ids + 1] = ARGV[n]
end
if ARGV[2] == '1' or is_alone(KEYS[1]) then redis.call('XDEL', KEYS[1], unpack(ids)) end
if redis.call('EXISTS', KEYS[2]) == 1 then
    -- They are settled, whatever is wrong with that key; the chores tell.
    for _, id in ipairs(ids) do redis.pcall('ZREM', KEYS[2], ARGV[3] .. id) end
end
return done
