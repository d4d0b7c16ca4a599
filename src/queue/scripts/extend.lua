-- KEYS stream, kept; ARGV group, consumer, letter, id, milliseconds
local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], ARGV[4], 1)[1]
if not held or held[2] ~= ARGV[2] then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[4], 'JUSTID')
redis.call('ZADD', KEYS[2], string.format('%d', now + tonumber(ARGV[5])), ARGV[3] .. ARGV[4])
return 1
