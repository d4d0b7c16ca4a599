-- KEYS stream, again, later, dead; ARGV group, consumer, own, delay, max attempts, why, id
-- Only what is still pending for this consumer can be given back.
local k = { again = KEYS[2], later = KEYS[3], dead = KEYS[4] }
local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[7], ARGV[7], 1)[1]
if not held or held[2] ~= ARGV[2] then return 'lost' end
local alone = ARGV[3] == '1' or is_alone(KEYS[1])
return (give_back(k, ARGV[1], KEYS[1], alone, ARGV[7], 'given', tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]))
