-- KEYS a stream; ARGV group. Makes the group if it is not there, from the oldest entry. Also on a server without
-- memory: it takes little, and without it nobody could drain what fills the server.
make_way(KEYS[1])
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
return 1
