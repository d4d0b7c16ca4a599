-- KEYS stream, again, later, dead; ARGV group, consumer, own, ids...
-- Gives back, as not started, what is still pending for this consumer.
local k = { again = KEYS[2], later = KEYS[3], dead = KEYS[4] }
local alone, count = ARGV[3] == '1' or is_alone(KEYS[1]), 0
for n = 4, #ARGV do
    local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[n], ARGV[n], 1)[1]
    if held and held[2] == ARGV[2] then
        give_back(k, ARGV[1], KEYS[1], alone, ARGV[n], 'waiting', 0, 0, '')
        count = count + 1
    end
end
return count
