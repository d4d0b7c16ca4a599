-- KEYS stream, dead; ARGV again, id. Back to the group that gave it up, with its attempts forgotten.
local found = redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2])[1]
if not found then return 0 end
local m = read(found)
m.a = 0
-- A letter only moves.
make_way(KEYS[2])
local again = ARGV[1] .. (m.g or '')
if m.g and redis.call('EXISTS', again) == 1 then add(again, m) else add(KEYS[1], m) end
redis.call('XDEL', KEYS[2], ARGV[2])
return 1
