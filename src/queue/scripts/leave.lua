-- KEYS stream, again; ARGV group, consumer. A consumer that holds nothing leaves no name behind.
for _, stream in ipairs(KEYS) do
    local held = redis.call('XPENDING', stream, ARGV[1], '-', '+', 1, ARGV[2])
    if #held == 0 then redis.call('XGROUP', 'DELCONSUMER', stream, ARGV[1], ARGV[2]) end
end
return 1
