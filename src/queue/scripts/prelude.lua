-- What all scripts of a queue share. Times are the server's own, in milliseconds.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- What an entry of a stream holds: i id, a attempts so far, k key, p payload.
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
        m.k = string.sub(member, at, at + tonumber(length) - 1)
        at = at + tonumber(length)
    end
    m.p = string.sub(member, at)
    return m
end

-- Moves up to `most` due messages of a sorted set to a stream.
local function move_due(from, to, most)
    local due = redis.call('ZRANGEBYSCORE', from, '-inf', now, 'LIMIT', 0, most)
    for _, member in ipairs(due) do
        local m = unpacked(member)
        if m then add(to, m) end
        redis.call('ZREM', from, member)
    end
    return #due
end

-- An entry that nobody else reads any more is deleted with its acknowledgement.
local function is_alone(stream)
    return #redis.call('XINFO', 'GROUPS', stream) <= 1
end

local function finish(stream, group, id, alone)
    local acked = redis.call('XACK', stream, group, id)
    if alone then redis.call('XDEL', stream, id) end
    return acked
end

-- Gives one pending entry back: to its group again, at once or later, or to the dead letters. The copy
-- comes first: a server without memory refuses it, and then the entry stays where it is.
local function give_back(k, group, stream, alone, id, started, delay, max, why)
    local found = redis.call('XRANGE', stream, id, id)[1]
    if not found then
        redis.call('XACK', stream, group, id)
        return 'gone'
    end
    local m = read(found)
    local result = 'again'
    if started then m.a = m.a + 1 end
    if started and m.a >= max then
        add(k.dead, m, { g = group, r = why })
        result = 'dead'
    elseif delay > 0 then
        redis.call('ZADD', k.later, string.format('%d', now + delay), pack(m))
    else
        add(k.again, m)
    end
    finish(stream, group, id, alone)
    return result
end
