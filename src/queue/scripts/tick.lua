-- KEYS stream, again, later, dead, delayed, kept, turn
-- ARGV group, consumer, visibility, max attempts, the turn's length, how much at most
-- One consumer at a time does the chores of a group on a node; {0, ms} is for those whose turn it is not.
local k = { again = KEYS[2], later = KEYS[3], dead = KEYS[4] }
local group, visibility, max, most = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
if not redis.call('SET', KEYS[7], ARGV[2], 'NX', 'PX', ARGV[5]) then
    return { 0, redis.call('PTTL', KEYS[7]) }
end

-- First what frees memory: entries that every group has acknowledged.
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
local function info(flat)
    local g = {}
    for n = 1, #flat, 2 do g[flat[n]] = flat[n + 1] end
    return g
end
local low_ms, low_seq, low
for _, flat in ipairs(groups) do
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

-- Consumers that are long gone: killed ones cannot take their names with them.
if math.floor(now / 1000) % 60 == 0 then
    for n = 1, 2 do
        for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[n], group)) do
            local c = info(flat)
            if c.pending == 0 and c.idle > 3600000 then
                redis.call('XGROUP', 'DELCONSUMER', KEYS[n], group, c.name)
            end
        end
    end
end

local moved = move_due(KEYS[5], KEYS[1], most)
moved = math.max(moved, move_due(KEYS[3], KEYS[2], most))

redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now)
local kept = redis.call('EXISTS', KEYS[6]) == 1
local expired, dead = 0, 0
for letter, stream in pairs({ s = KEYS[1], a = KEYS[2] }) do
    local alone, from, pages = letter == 'a' or #groups <= 1, '-', 0
    repeat
        local list = redis.call('XPENDING', stream, group, 'IDLE', ARGV[3], from, '+', most)
        for _, p in ipairs(list) do
            from = '(' .. p[1]
            -- A consumer's name ends with its own visibility: nobody's lease ends before that.
            local theirs = tonumber(string.match(p[2], ':(%d+)$') or '') or visibility
            local is_kept = kept and redis.call('ZSCORE', KEYS[6], letter .. p[1])
            if p[3] >= theirs and not is_kept then
                local why = 'the lease of ' .. p[2] .. ' expired'
                local result = give_back(k, group, stream, alone, p[1], true, 0, max, why)
                if result == 'dead' then dead = dead + 1 end
                if result ~= 'gone' then expired = expired + 1 end
            end
        end
        pages = pages + 1
    until #list < most or pages == 10
end
local depth = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])
local delayed = redis.call('ZCARD', KEYS[5]) + redis.call('ZCARD', KEYS[3])
local more = moved >= most or expired >= most
-- Whoever has the turn comes again at once.
if more then redis.call('DEL', KEYS[7]) end
return { 1, expired, dead, depth + delayed, more and 1 or 0 }
