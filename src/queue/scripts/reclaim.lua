-- KEYS stream, again, later, dead; ARGV group, consumer, kept (each `s` or `a` and an id)...
-- Gives back, as not started, all that is pending for this consumer and that it does not have.
local k = { again = KEYS[2], later = KEYS[3], dead = KEYS[4] }
local group, me, keep, count = ARGV[1], ARGV[2], {}, 0
for n = 3, #ARGV do keep[ARGV[n]] = true end
for letter, stream in pairs({ s = KEYS[1], a = KEYS[2] }) do
    local alone, from = letter == 'a' or is_alone(stream), '-'
    -- What is given back joins the end of `again`, but it is pending for nobody there.
    repeat
        local list = redis.call('XPENDING', stream, group, from, '+', 200, me)
        for _, p in ipairs(list) do
            if not keep[letter .. p[1]] then
                give_back(k, group, stream, alone, p[1], 'waiting', 0, 0, '')
                count = count + 1
            end
            from = '(' .. p[1]
        end
    until #list < 200
end
return count
