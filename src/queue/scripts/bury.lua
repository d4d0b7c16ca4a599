-- KEYS stream, dead; ARGV group, own, why, id. For an entry that somebody else put there: no message.
local found = redis.call('XRANGE', KEYS[1], ARGV[4], ARGV[4])[1]
local alone = ARGV[2] == '1' or is_alone(KEYS[1])
if found then
    local m = read(found)
    m.p, m.s = m.p or table.concat(found[2], ' '), nil
    if alone then make_way(KEYS[1]) end
    add(KEYS[2], m, { g = ARGV[1], r = ARGV[3] })
end
finish(KEYS[1], ARGV[1], ARGV[4], alone)
return 1
