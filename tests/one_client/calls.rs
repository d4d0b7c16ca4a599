//! Generated calls: every kind of data, now and then a key of the wrong kind.

use redis::Cmd;

/// Templates; words in angle brackets are drawn: `<s>` a key of strings, `<n>` of numbers, `<h>` of
/// hashes, `<l>` of lists, `<e>` of sets, `<z>` of sorted sets, `<x>` of streams, `<p>` of sketches;
/// `<v>` a value, `<f>` a field, `<i>` a small number, `<t>` a moment far off, `<id>` a stream id.
const TEMPLATES: &[&str] = &[
    "SET <s> <v>",
    "SET <s> <v> NX",
    "SET <s> <v> XX GET",
    "SET <s> <v> EXAT <t>",
    "SET <s> <v> KEEPTTL",
    "GET <s>",
    "get <s>",
    "GETDEL <s>",
    "GETSET <s> <v>",
    "GETEX <s> PERSIST",
    "SETNX <s> <v>",
    "SETRANGE <s> <i> <v>",
    "GETRANGE <s> 0 <i>",
    "STRLEN <s>",
    "APPEND <s> <v>",
    "INCR <n>",
    "INCRBY <n> <i>",
    "DECRBY <n> <i>",
    "INCRBYFLOAT <n> 1.5",
    "MGET <s> <s> <n>",
    "MGET <s> <s> <s> <s> <s> <s> <h>",
    "MSET <s> <v> <s> <v>",
    "MSET <s> <v> <n> <i> <s> <v> <n> <i>",
    "MSETNX <s> <v> <s> <v>",
    "DEL <s> <h> <l> <s>",
    "DEL <z>",
    "UNLINK <s> <e> <n>",
    "EXISTS <s> <s> <h> <l> <e>",
    "TOUCH <s> <n> <z> <z>",
    "TYPE <s>",
    "TYPE <z>",
    "RENAME <s> <s>",
    "RENAMENX <s> <s>",
    "COPY <s> <s> REPLACE",
    "LCS <s> <s>",
    "EXPIREAT <s> <t>",
    "EXPIREAT <h> <t> NX",
    "PEXPIREAT <l> <t>000 GT",
    "EXPIRETIME <s>",
    "PEXPIRETIME <h>",
    "PERSIST <s>",
    "TTL missing",
    "HSET <h> <f> <v>",
    "HSET <h> <f> <v> <f> <v>",
    "HGET <h> <f>",
    "HMGET <h> <f> <f>",
    "HGETALL <h>",
    "HDEL <h> <f> <f>",
    "HEXISTS <h> <f>",
    "HINCRBY <h> count <i>",
    "HLEN <h>",
    "HKEYS <h>",
    "HSETNX <h> <f> <v>",
    "HSTRLEN <h> <f>",
    "LPUSH <l> <v> <v>",
    "RPUSH <l> <v>",
    "LPOP <l>",
    "RPOP <l> 2",
    "LLEN <l>",
    "LRANGE <l> 0 -1",
    "LINSERT <l> BEFORE <v> <v>",
    "LREM <l> 1 <v>",
    "LSET <l> 0 <v>",
    "LTRIM <l> 0 5",
    "LPOS <l> <v>",
    "LMOVE <l> <l> LEFT RIGHT",
    "RPOPLPUSH <l> <l>",
    "LMPOP 2 <l> <l> LEFT COUNT 2",
    "SADD <e> <v> <v>",
    "SREM <e> <v>",
    "SCARD <e>",
    "SISMEMBER <e> <v>",
    "SMISMEMBER <e> <v> <v>",
    "SMEMBERS <e>",
    "SINTER <e> <e>",
    "SUNION <e> <e> <e>",
    "SDIFF <e> <e>",
    "SINTERCARD 2 <e> <e>",
    "SUNIONSTORE <e> <e> <e>",
    "SMOVE <e> <e> <v>",
    "ZADD <z> <i> <f>",
    "ZADD <z> GT CH <i> <f> <i> <f>",
    "ZINCRBY <z> <i> <f>",
    "ZSCORE <z> <f>",
    "ZRANK <z> <f>",
    "ZRANGE <z> 0 -1 WITHSCORES",
    "ZRANGEBYSCORE <z> -inf <i>",
    "ZREVRANGE <z> 0 3",
    "ZREM <z> <f>",
    "ZCARD <z>",
    "ZCOUNT <z> 0 <i>",
    "ZPOPMIN <z>",
    "ZUNION 2 <z> <z> WITHSCORES",
    "ZINTERSTORE <z> 2 <z> <z> WEIGHTS 1 2",
    "ZDIFF 2 <z> <z>",
    "ZRANGESTORE <z> <z> 0 2",
    "ZMPOP 1 <z> MAX",
    "XADD <x> <id> a <v>",
    "XADD <x> NOMKSTREAM <id> a <v>",
    "XLEN <x>",
    "XRANGE <x> - +",
    "XREVRANGE <x> + - COUNT 2",
    "XREAD COUNT 2 STREAMS <x> 0",
    "XREAD STREAMS <x> <x> 0 0",
    "XTRIM <x> MAXLEN 4",
    "XGROUP CREATE <x> g 0 MKSTREAM",
    "XREADGROUP GROUP g c COUNT 1 STREAMS <x> >",
    "XPENDING <x> g",
    "XDEL <x> 1-1",
    "PFADD <p> <v> <v>",
    "PFCOUNT <p>",
    "PFCOUNT <p> <p>",
    "PFMERGE <p> <p>",
    "SETBIT <p> <i> 1",
    "GETBIT <p> <i>",
    "BITCOUNT <s>",
    "BITOP OR <s> <s> <s>",
    "SORT <l> ALPHA",
    "SORT <n>",
    "SORT <l> ALPHA STORE <l>",
    "SORT_RO <l> ALPHA LIMIT 0 2",
    "EVAL return{KEYS[1],KEYS[2],ARGV[1]} 2 <s> <s> <v>",
    "EVAL return(redis.call('INCRBY',KEYS[1],ARGV[1])) 1 <n> <i>",
    "EVAL return(redis.call('LLEN',KEYS[1])) 1 <l>",
    "EVAL_RO return(redis.call('GET',KEYS[1])) 1 <s>",
    "EVALSHA 0123456789012345678901234567890123456789 1 <s>",
    "GEOADD <z> 13.3 38.1 <f>",
    "GEOPOS <z> <f>",
    "OBJECT REFCOUNT missing",
    "DBSIZE",
    "PING",
    "ECHO <v>",
    "KEYS <s>",
    // Errors of the caller.
    "GET",
    "GET <s> <s>",
    "SET <s>",
    "MSET <s> <v> <s>",
    "HSET <h> <f>",
    "INCRBY <n> x",
    "EXPIRE <s> soon",
    "ZADD <z> x <f>",
    "LMPOP 0 <l> LEFT",
    "ZUNION x <z>",
    "SINTERCARD -1 <e>",
    "EVAL return(1) 9 <s>",
    "SET <s> <v> NX XX",
    "NONSENSE <s>",
];

/// Draws calls; the same seed gives the same calls.
pub struct Calls {
    random: fastrand::Rng,
    next_id: u64,
}

impl Calls {
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            next_id: 1,
        }
    }

    pub fn up_to(&mut self, most: usize) -> usize {
        self.random.usize(0..=most)
    }

    /// One call, as its words.
    pub fn next(&mut self) -> Vec<String> {
        let template = TEMPLATES[self.random.usize(..TEMPLATES.len())];
        // Three in five calls have all their keys under one tag.
        let tag = (self.random.u8(0..5) < 3).then(|| self.random.u8(0..4));
        template
            .split(' ')
            .map(|word| self.draw(word, tag))
            .collect()
    }

    fn draw(&mut self, word: &str, tag: Option<u8>) -> String {
        let Some((name, rest)) = word.strip_prefix('<').and_then(|w| w.split_once('>')) else {
            return word.to_owned();
        };
        match name {
            "v" => ["a", "b", "7", "", "long value", "ü\0"][self.random.usize(..6)].to_owned(),
            "f" => format!("f{}", self.random.u8(0..5)),
            "i" => self.random.u8(0..12).to_string(),
            "t" => format!("{}{rest}", 4_000_000_000_u64 + self.random.u64(0..9)),
            "id" => {
                self.next_id += 1;
                format!("{}-1", self.next_id)
            }
            kind => {
                let kinds = ["s", "n", "h", "l", "e", "z", "x", "p"];
                let kind = match self.random.u8(0..25) {
                    0 => kinds[self.random.usize(..kinds.len())],
                    _ => kind,
                };
                let n = self.random.u8(0..8);
                match tag {
                    Some(tag) => format!("{{t{tag}}}{kind}{n}"),
                    None => format!("{kind}{n}"),
                }
            }
        }
    }
}

pub fn command(words: &[String]) -> Cmd {
    let mut cmd = Cmd::new();
    for word in words {
        cmd.arg(word);
    }
    cmd
}

/// Whether the order of the reply's items is the server's own.
pub fn is_unordered(words: &[String]) -> bool {
    matches!(
        &*words[0].to_uppercase(),
        "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF" | "KEYS" | "HKEYS" | "HGETALL"
    )
}

/// Whether all keys of the call have the same tag.
pub fn has_one_tag(words: &[String]) -> bool {
    let mut tags = words
        .iter()
        .filter(|w| w.starts_with("{t"))
        .map(|w| &w[..4]);
    let first = tags.next();
    first.is_some() && tags.all(|t| Some(t) == first)
}
