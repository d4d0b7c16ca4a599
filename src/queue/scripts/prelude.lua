-- What all scripts of a queue share. Times are the server's own, in milliseconds.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- What an entry of a stream holds: i id, a attempts so far, s suspect (a lease of it expired), k key, p payload.
local function read(entry)
    local m = {}
    local flat = entry[2]
    for n = 1, #flat, 2 do m[flat[n]] = flat[n + 1] end
    m.a = tonumber(m.a) or 0
    return m
end

local function add(to, m, more)
    local words = { 'XADD', to, '*' }
    local function put(name, value)
        if value then
            words[#words + 1] = name
            words[#words + 1] = value
        end
    end
    put('i', m.i)
    if m.a > 0 then put('a', string.format('%d', m.a)) end
    put('s', m.s)
    put('k', m.k)
    put('p', m.p or '')
    for name, value in pairs(more or {}) do put(name, value) end
    return redis.call(unpack(words))
end

-- A message as a member of a sorted set: id:attempts:length of the key or -:key payload
local function pack(m)
    local length = m.k and string.format('%d', #m.k) or '-'
    return (m.i or '') .. ':' .. string.format('%d', m.a) .. ':' .. length .. ':' .. (m.k or '') .. (m.p or '')
end

local function unpacked(member)
    local i, a, length, at = string.match(member, '^(%x*):(%d+):([%d-]+):()')
    if not i then return nil end
    local m = { i = i, a = tonumber(a) }
    if length ~= '-' then
        local bytes = string.match(length, '^%d+$') and tonumber(length)
        if not bytes or at + bytes - 1 > #member then return nil end
        m.k = string.sub(member, at, at + bytes - 1)
        at = at + bytes
    end
    m.p = string.sub(member, at)
    return m
end

-- A server without memory refuses what needs some (OOM), but not after a write of the same script that needs
-- none. Only for scripts that give back what they take; a refusal is what keeps producers from going on.
local function make_way(stream) redis.call('XDEL', stream, '0-0') end

-- An entry that nobody else reads any more is deleted with its acknowledgement.
local function is_alone(stream)
    return #redis.call('XINFO', 'GROUPS', stream) <= 1
end

local function finish(stream, group, id, alone)
    local acked = redis.call('XACK', stream, group, id)
    if alone then redis.call('XDEL', stream, id) end
    return acked
end

-- The key that a copy goes to, for whoever has to say where that failed.
local aim

-- Gives one pending entry back: to its group again, at once or later, or to the dead letters. `how`: `given` by
-- whom it was delivered to; `waiting`, never started; of an expired lease, which does not say what was started:
-- `killed` when it had been noted before, else `lapsed`. The first and the third count as an attempt; what comes
-- from an expired lease is suspect, and handled alone from then on.
-- The copy comes first: when it is refused the entry stays where it is. On a server without memory it is refused
-- to a stream of several groups, where the entry stays beside its copy; a stream of one group only moves it.
-- Gives what became of it, and its bytes.
local function give_back(k, group, stream, alone, id, how, delay, max, why)
    local found = redis.call('XRANGE', stream, id, id)[1]
    if not found then
        redis.call('XACK', stream, group, id)
        return 'gone', 0
    end
    local m = read(found)
    local started = how == 'given' or how == 'killed'
    if started then m.a = m.a + 1 end
    if how == 'given' then m.s = nil end
    if how == 'killed' or how == 'lapsed' then m.s = '1' end
    local result = 'again'
    if alone then make_way(stream) end
    if started and m.a >= max then
        aim, m.s = k.dead, nil
        add(k.dead, m, { g = group, r = why })
        result = 'dead'
    elseif delay > 0 then
        aim = k.later
        redis.call('ZADD', k.later, string.format('%d', now + delay), pack(m))
    else
        aim = k.again
        add(k.again, m)
    end
    aim = nil
    finish(stream, group, id, alone)
    return result, #(m.p or '') + #(m.k or '')
end
