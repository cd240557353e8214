"""What the broker does in one step, in its own language, Lua.

Each script that touches a partition first compares the lease: whoever lost it changes nothing. All but those that
store messages may run while the broker is out of memory, or nobody could deliver what fills it.
"""

_ALWAYS = "#!lua flags=allow-oom\n"

_GROUPS = """
local function groups_of(stream)
  local found = {}
  if redis.call('EXISTS', stream) == 1 then
    for i, fields in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      found[i] = {}
      for j = 1, #fields, 2 do found[i][fields[j]] = fields[j + 1] end
    end
  end
  return found
end
"""

#: Store envelopes that are not stored yet. A reply can be lost, so each writer's last batch is remembered.
#: A stream is cut as soon as its groups are done, so a destination's group must stand before what is for it: only
#: this step knows that nobody emptied the broker since, and the writer's program may have other destinations.
#: KEYS: alive, the writer's last batch, then of each envelope its stream and its origin's last batch.
#: ARGV: seconds for alive, seconds for batches, 1 if a new batch begins, how many envelopes, then of each number, head,
#: record; then of each group that is needed the envelope in whose stream it is, and its name.
WRITE = (
    "#!lua\n"
    + _GROUPS
    + """
local added = 0
local count = tonumber(ARGV[4])
local known = {}
for at = 5 + 3 * count, #ARGV, 2 do
  local stream, name = KEYS[2 * ARGV[at] + 1], ARGV[at + 1]
  if not known[stream] then
    known[stream] = {}
    for _, group in ipairs(groups_of(stream)) do known[stream][group['name']] = true end
  end
  if not known[stream][name] then redis.call('XGROUP', 'CREATE', stream, name, '0', 'MKSTREAM') end
end
for i = 1, count do
  if redis.call('SISMEMBER', KEYS[2 * i + 2], ARGV[3 * i + 2]) == 0 then
    redis.call('XADD', KEYS[2 * i + 1], '*', 'e', ARGV[3 * i + 3], 'r', ARGV[3 * i + 4])
    added = added + 1
  end
end
if ARGV[3] == '1' then redis.call('DEL', KEYS[2]) end
for i = 1, count do
  redis.call('SADD', KEYS[2 * i + 2], ARGV[3 * i + 2])
  redis.call('EXPIRE', KEYS[2 * i + 2], ARGV[2])
end
redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
return added
"""
)

#: Make the group of each destination on each stream, so that nothing is missed. KEYS: streams. ARGV: groups.
ENSURE = (
    _ALWAYS
    + """
for _, stream in ipairs(KEYS) do
  for _, group in ipairs(ARGV) do
    local made = redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
    if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
  end
end
return 1
"""
)

#: Say that a worker lives; return how many do. KEYS: workers. ARGV: token, milliseconds.
BEAT = (
    _ALWAYS
    + """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
return redis.call('ZCARD', KEYS[1])
"""
)

#: Begin the time of leases anew; return 1 for each that is still ours. KEYS: leases. ARGV: token, milliseconds.
RENEW = (
    _ALWAYS
    + """
local mine = {}
for i, key in ipairs(KEYS) do
  mine[i] = 0
  if redis.call('GET', key) == ARGV[1] then
    redis.call('PEXPIRE', key, ARGV[2])
    mine[i] = 1
  end
end
return mine
"""
)

#: Lease what is free; return the places in KEYS. KEYS: leases. ARGV: token, milliseconds, how many at most.
ACQUIRE = (
    _ALWAYS
    + """
local got = {}
for i, key in ipairs(KEYS) do
  if #got >= tonumber(ARGV[3]) then break end
  if redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) then got[#got + 1] = i end
end
return got
"""
)

#: Let go of leases. KEYS: leases. ARGV: token.
RELEASE = (
    _ALWAYS
    + """
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
return 1
"""
)

#: Read what nobody read. KEYS: lease and stream of each partition. ARGV: token, consumer, group, most of each.
READ = (
    _ALWAYS
    + """
local found = {}
for i = 1, #KEYS / 2 do
  found[i] = 0
  if redis.call('GET', KEYS[2 * i - 1]) == ARGV[1] then
    local read = redis.call(
      'XREADGROUP', 'GROUP', ARGV[3], ARGV[2], 'COUNT', ARGV[4], 'STREAMS', KEYS[2 * i], '>')
    found[i] = read and read[1][2] or {}
  end
end
return found
"""
)

#: Take over what others read and did not settle; return the cursor, entries, ids that were deleted, and tries.
#: KEYS: lease, stream, tries. ARGV: token, consumer, group, cursor, most.
CLAIM = (
    _ALWAYS
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local found = redis.call('XAUTOCLAIM', KEYS[2], ARGV[3], ARGV[2], 0, ARGV[4], 'COUNT', ARGV[5])
local tries = {}
for i, entry in ipairs(found[2]) do
  tries[i] = redis.call('HGET', KEYS[3], entry[1]) or ''
end
for _, id in ipairs(found[3]) do redis.call('HDEL', KEYS[3], id) end
return {found[1], found[2], found[3], tries}
"""
)

#: Write down how often entries were tried. KEYS: lease and tries of each partition.
#: ARGV: token, then of each partition how many, and of each entry its id and what to write, '' for nothing.
NOTE = (
    _ALWAYS
    + """
local at, mine = 2, {}
for i = 1, #KEYS / 2 do
  local count = tonumber(ARGV[at])
  mine[i] = 0
  if redis.call('GET', KEYS[2 * i - 1]) == ARGV[1] then
    mine[i] = 1
    for j = 1, count do
      local id, tries = ARGV[at + 2 * j - 1], ARGV[at + 2 * j]
      if tries == '' then redis.call('HDEL', KEYS[2 * i], id)
      else redis.call('HSET', KEYS[2 * i], id, tries) end
    end
  end
  at = at + 1 + 2 * count
end
return mine
"""
)

_SETTLE = """
local function settle(stream, tries, group, id)
  redis.call('XACK', stream, group, id)
  redis.call('HDEL', tries, id)
end
local function tell(verdicts, alive, verdict, seconds)
  if redis.call('EXISTS', alive) == 1 then
    redis.call('RPUSH', verdicts, verdict)
    redis.call('EXPIRE', verdicts, seconds)
  end
end
"""

#: Forget entries that are settled, and tell their origins; return 1 for each partition that is ours.
#: KEYS: lease, stream, tries of each partition, then of each origin its verdicts and whether it is alive.
#: ARGV: token, group, seconds for verdicts, how many partitions, then of each partition how many entries, and of each
#: entry its id, the number of its origin (0: nobody is told) and the verdict.
SETTLE = (
    _ALWAYS
    + _SETTLE
    + """
local partitions, at, mine = tonumber(ARGV[4]), 5, {}
for i = 1, partitions do
  local count = tonumber(ARGV[at])
  mine[i] = 0
  if redis.call('GET', KEYS[3 * i - 2]) == ARGV[1] then
    mine[i] = 1
    for j = at + 1, at + 3 * count, 3 do
      settle(KEYS[3 * i - 1], KEYS[3 * i], ARGV[2], ARGV[j])
      local origin = 3 * partitions + 2 * tonumber(ARGV[j + 1])
      if origin > 3 * partitions then tell(KEYS[origin - 1], KEYS[origin], ARGV[j + 2], ARGV[3]) end
    end
  end
  at = at + 1 + 3 * count
end
return mine
"""
)

# KEYS of the letters, from the given place on: heads, records, order, sums.
_LETTERS = """
local function forget(at, field)
  local size = redis.call('HSTRLEN', KEYS[at + 1], field)
  local found = redis.call('HDEL', KEYS[at], field)
  if found == 1 then
    redis.call('HDEL', KEYS[at + 1], field)
    redis.call('ZREM', KEYS[at + 2], field)
    redis.call('HINCRBY', KEYS[at + 3], 'size', -size)
  end
  return found
end
local function keep(at, field, head, record, most, bytes)
  forget(at, field)
  redis.call('HSET', KEYS[at], field, head)
  redis.call('HSET', KEYS[at + 1], field, record)
  redis.call('ZADD', KEYS[at + 2], redis.call('HINCRBY', KEYS[at + 3], 'last', 1), field)
  local size = redis.call('HINCRBY', KEYS[at + 3], 'size', #record)
  local count = redis.call('ZCARD', KEYS[at + 2])
  while count > most or (count > 1 and size > bytes) do
    forget(at, redis.call('ZRANGE', KEYS[at + 2], 0, 0)[1])
    count = redis.call('ZCARD', KEYS[at + 2])
    size = tonumber(redis.call('HGET', KEYS[at + 3], 'size'))
  end
end
"""

#: Keep a dead letter. KEYS: letters. ARGV: field, head, record, how many letters and bytes at most.
KEEP = "#!lua\n" + _LETTERS + "keep(1, ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))\nreturn 1\n"

#: Forget a dead letter, unless a newer one took its place; return 1 if it was there. KEYS: letters.
#: ARGV: field, when it was buried.
DISCARD = (
    _ALWAYS
    + _LETTERS
    + """
local head = redis.call('HGET', KEYS[1], ARGV[1])
if not head or cjson.decode(head)['buried_at'] ~= tonumber(ARGV[2]) then return 0 end
return forget(1, ARGV[1])
"""
)

#: Move an entry to the dead letters. KEYS: lease, stream, tries, letters, verdicts and alive of the origin.
#: ARGV: token, group, id, field, head, record, letters, bytes, 1 if the origin is told, verdict, seconds for verdicts.
BURY = (
    _ALWAYS
    + _SETTLE
    + _LETTERS
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
keep(4, ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]))
settle(KEYS[2], KEYS[3], ARGV[2], ARGV[3])
if ARGV[9] == '1' then tell(KEYS[8], KEYS[9], ARGV[10], ARGV[11]) end
return 1
"""
)

#: Cut off what every group is done with. KEYS: a stream.
TRIM = (
    _ALWAYS
    + _GROUPS
    + """
local function parts(id)
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(seq)
end
local function less(a, b)
  local a1, a2 = parts(a)
  local b1, b2 = parts(b)
  return a1 < b1 or (a1 == b1 and a2 < b2)
end
local slowest = nil
for _, group in ipairs(groups_of(KEYS[1])) do
  local id = group['last-delivered-id']
  if group['pending'] > 0 then id = redis.call('XPENDING', KEYS[1], group['name'])[2] end
  if not slowest or less(id, slowest) then slowest = id end
end
if not slowest then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', slowest)
"""
)
