-- KEYS stream, again, later, dead, delayed, kept, turn
-- ARGV group, consumer, visibility, max attempts, the turn's length, how many at most, how many bytes at most
-- One consumer at a time does the chores of a group on a node; {{0, ms}, {}} is for those whose turn it is not.
-- Else {{1, expired, dead, depth, whether there is more}, {a key, what was wrong there, ...}}.
local k = { again = KEYS[2], later = KEYS[3], dead = KEYS[4] }
local group, visibility, max, turn = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local most, bytes = tonumber(ARGV[6]), tonumber(ARGV[7])

-- A chore that fails keeps no other one from being done; the key where it failed is told, once.
local trouble, told = {}, {}
local function attempt(key, chore)
    aim = nil
    local done, why = pcall(chore)
    if done then return end
    if type(why) == 'table' then why = why.err end
    key, why = aim or key, tostring(why)
    -- A group that is not there is made by whoever reads.
    local absent = string.find(why, 'NOGROUP', 1, true) or string.find(why, 'no such key', 1, true)
    if absent or told[key] then return end
    told[key] = true
    trouble[#trouble + 1] = key
    trouble[#trouble + 1] = why
end

-- The chores move what is there, and make room: a server without memory needs them most.
attempt(KEYS[1], function() make_way(KEYS[1]) end)

local wait
attempt(KEYS[7], function()
    if redis.call('SET', KEYS[7], ARGV[2], 'NX', 'PX', ARGV[5]) then return end
    local left = redis.call('PTTL', KEYS[7])
    if left >= 0 and left <= turn then
        wait = left
        return
    end
    -- No turn is longer, or has no end: the clock was set back, or somebody else was here. Another type is not ours.
    redis.call('GET', KEYS[7])
    redis.call('SET', KEYS[7], ARGV[2], 'PX', ARGV[5])
end)
if wait then return { { 0, wait }, {} } end

-- First what frees memory: entries that every group has acknowledged.
local groups
attempt(KEYS[1], function() groups = redis.call('XINFO', 'GROUPS', KEYS[1]) end)
local function info(flat)
    local g = {}
    for n = 1, #flat, 2 do g[flat[n]] = flat[n + 1] end
    return g
end
attempt(KEYS[1], function()
    local low_ms, low_seq, low
    for _, flat in ipairs(groups or {}) do
        local g = info(flat)
        local ms, seq
        if g.pending > 0 then
            ms, seq = string.match(redis.call('XPENDING', KEYS[1], g.name)[2], '^(%d+)-(%d+)$')
        else
            -- All up to and with this one was read and acknowledged.
            ms, seq = string.match(g['last-delivered-id'], '^(%d+)-(%d+)$')
            seq = string.format('%d', tonumber(seq) + 1)
        end
        local a, b = tonumber(ms), tonumber(seq)
        if not low or a < low_ms or (a == low_ms and b < low_seq) then
            low_ms, low_seq, low = a, b, ms .. '-' .. seq
        end
    end
    if low then redis.call('XTRIM', KEYS[1], 'MINID', low) end
end)

-- Consumers that are long gone: killed ones cannot take their names with them.
if math.floor(now / 1000) % 60 == 0 then
    for n = 1, 2 do
        attempt(KEYS[n], function()
            for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[n], group)) do
                local c = info(flat)
                if c.pending == 0 and c.idle > 3600000 then
                    redis.call('XGROUP', 'DELCONSUMER', KEYS[n], group, c.name)
                end
            end
        end)
    end
end

-- What is moved in one script, in messages and bytes: while it runs the server answers nobody.
local count, spent = 0, 0
local function is_enough() return count >= most or spent >= bytes end

-- Moves what is due of a sorted set to a stream. How large the members are is seen when they are here: a few at
-- first, and more while they are small.
local function move_due(from, to)
    local ask, largest = 1, 1
    while not is_enough() do
        local due = redis.call('ZRANGEBYSCORE', from, '-inf', now, 'LIMIT', 0, ask)
        for _, member in ipairs(due) do
            local m = unpacked(member)
            if m then
                aim = to
                add(to, m)
            else
                -- Nobody would ever get it; among the dead letters somebody may look at it.
                aim = k.dead
                add(k.dead, { a = 0, p = member }, { g = group, r = 'not a message of this queue' })
            end
            aim = nil
            redis.call('ZREM', from, member)
            count, spent, largest = count + 1, spent + #member, math.max(largest, #member)
        end
        if #due < ask then return end
        local left = math.max(math.floor((bytes - spent) / largest), 1)
        ask = math.min(2 * ask, 16, math.max(most - count, 1), left)
    end
end
attempt(KEYS[5], function() move_due(KEYS[5], KEYS[1]) end)
attempt(KEYS[3], function() move_due(KEYS[3], KEYS[2]) end)

local kept = false
attempt(KEYS[6], function()
    redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now)
    kept = redis.call('EXISTS', KEYS[6]) == 1
end)
local expired, dead = 0, 0
local function lapse(stream, alone, p)
    local why = 'the lease of ' .. p[2] .. ' expired'
    -- More than one delivery: whoever was given it had noted that it begins. With a single attempt all count.
    local how = (p[4] > 1 or max == 1) and 'killed' or 'lapsed'
    local result, size = give_back(k, group, stream, alone, p[1], how, 0, max, why)
    if result == 'dead' then dead = dead + 1 end
    if result ~= 'gone' then expired = expired + 1 end
    count, spent = count + 1, spent + size
end
for letter, stream in pairs({ s = KEYS[1], a = KEYS[2] }) do
    attempt(stream, function()
        -- Where the groups cannot be seen there may be others.
        local alone = letter == 'a' or (groups ~= nil and #groups <= 1)
        local from, pages = '-', 0
        repeat
            local list = redis.call('XPENDING', stream, group, 'IDLE', ARGV[3], from, '+', most)
            for _, p in ipairs(list) do
                if is_enough() then return end
                from = '(' .. p[1]
                -- A consumer's name ends with its own visibility: nobody's lease ends before that.
                local theirs = tonumber(string.match(p[2], ':(%d+)$') or '') or visibility
                local is_kept = kept and redis.call('ZSCORE', KEYS[6], letter .. p[1])
                if p[3] >= theirs and not is_kept then
                    attempt(stream, function() lapse(stream, alone, p) end)
                end
            end
            pages = pages + 1
        until #list < most or pages == 10
    end)
end
local depth = 0
for key, command in pairs({ [1] = 'XLEN', [2] = 'XLEN', [3] = 'ZCARD', [5] = 'ZCARD' }) do
    attempt(KEYS[key], function() depth = depth + redis.call(command, KEYS[key]) end)
end
local more = is_enough()
-- Whoever has the turn comes again at once.
if more then attempt(KEYS[7], function() redis.call('DEL', KEYS[7]) end) end
return { { 1, expired, dead, depth, more and 1 or 0 }, trouble }
