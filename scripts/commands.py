#!/usr/bin/env python3
"""Writes src/command/table.rs from a server's own description of its commands.

    redis-cli --json COMMAND | scripts/commands.py > src/command/table.rs

Needed only when a new version of Redis or Valkey brings commands; tests/command.rs compares the table
with the server that the tests run against.
"""
import json
import sys

# Writes that leave the same behind when they are applied twice; the server does not say.
REPEATABLE = set(
    """SET DEL UNLINK HSET HMSET HDEL SADD SREM EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST MSET SETEX PSETEX
    SETBIT SETRANGE LSET ZREM SDIFFSTORE SINTERSTORE SUNIONSTORE ZDIFFSTORE ZINTERSTORE ZUNIONSTORE
    ZRANGESTORE PFADD PFMERGE BITOP GEOADD XACK XDEL GETEX FLUSHALL FLUSHDB""".split()
)
# Channels, not keys.
CHANNELS = {"SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE"}
# Redis 7.2 to 8, Valkey 8 and 9: unknown to the Redis 7.0 that the table was made from.
ONE_KEY = ["at(1, 0, 1)"]
NEWER = {
    "CLIENT CAPA": (-3, "NONE", []),
    "CLIENT IMPORT-SOURCE": (3, "NONE", []),
    "CLIENT NO-TOUCH": (3, "NONE", []),
    "CLIENT SETINFO": (4, "NONE", []),
    "CLUSTER MYSHARDID": (2, "NONE", []),
    "CLUSTER SLOT-STATS": (-4, "NONE", []),
    "COMMANDLOG GET": (4, "NONE", []),
    "COMMANDLOG LEN": (3, "NONE", []),
    "COMMANDLOG RESET": (3, "NONE", []),
    "DELEX": (-2, "WRITE", ONE_KEY),
    "DELIFEQ": (3, "WRITE", ONE_KEY),
    "DIGEST": (2, "READ", ONE_KEY),
    "HEXPIRE": (-6, "REPEAT", ONE_KEY),
    "HEXPIREAT": (-6, "REPEAT", ONE_KEY),
    "HEXPIRETIME": (-5, "READ", ONE_KEY),
    "HGETDEL": (-5, "WRITE", ONE_KEY),
    "HGETEX": (-5, "WRITE", ONE_KEY),
    "HPERSIST": (-5, "REPEAT", ONE_KEY),
    "HPEXPIRE": (-6, "REPEAT", ONE_KEY),
    "HPEXPIREAT": (-6, "REPEAT", ONE_KEY),
    "HPEXPIRETIME": (-5, "READ", ONE_KEY),
    "HPTTL": (-5, "READ", ONE_KEY),
    "HSETEX": (-6, "REPEAT", ONE_KEY),
    "HTTL": (-5, "READ", ONE_KEY),
    "JSON.MGET": (-3, "READ", ["at(1, -2, 1)"]),
    "SCRIPT SHOW": (3, "NONE", []),
    "WAITAOF": (4, "NONE", []),
    "XACKDEL": (-6, "REPEAT", ONE_KEY),
    "XDELEX": (-5, "REPEAT", ONE_KEY),
}
# Of the modules, which Redis 8 brings along: the key is the first word. Their arities differ between versions, and
# the server judges them; these are commands that no key can be told of without a word behind the name.
FIRST = {
    "READ": """BF.CARD BF.EXISTS BF.INFO BF.MEXISTS BF.SCANDUMP CF.COUNT CF.EXISTS CF.INFO CF.MEXISTS CF.SCANDUMP CMS.INFO
    CMS.QUERY FT.SUGGET FT.SUGLEN JSON.ARRINDEX JSON.ARRLEN JSON.GET JSON.OBJKEYS JSON.OBJLEN JSON.RESP
    JSON.STRLEN JSON.TYPE TDIGEST.BYRANK TDIGEST.BYREVRANK TDIGEST.CDF TDIGEST.INFO TDIGEST.MAX TDIGEST.MIN
    TDIGEST.QUANTILE TDIGEST.RANK TDIGEST.REVRANK TDIGEST.TRIMMED_MEAN TOPK.COUNT TOPK.INFO TOPK.LIST
    TOPK.QUERY TS.GET TS.INFO TS.RANGE TS.REVRANGE VCARD VDIM VEMB VGETATTR VINFO VISMEMBER VLINKS
    VRANDMEMBER VRANGE VSIM""",
    "WRITE": """BF.ADD BF.INSERT BF.LOADCHUNK BF.MADD BF.RESERVE CF.ADD CF.ADDNX CF.DEL CF.INSERT CF.INSERTNX CF.LOADCHUNK
    CF.RESERVE CMS.INCRBY CMS.INITBYDIM CMS.INITBYPROB FT.SUGADD FT.SUGDEL INCREX JSON.ARRAPPEND
    JSON.ARRINSERT JSON.ARRPOP JSON.ARRTRIM JSON.CLEAR JSON.DEL JSON.FORGET JSON.MERGE JSON.NUMINCRBY
    JSON.NUMMULTBY JSON.SET JSON.STRAPPEND JSON.TOGGLE TDIGEST.ADD TDIGEST.CREATE TDIGEST.RESET TOPK.ADD
    TOPK.INCRBY TOPK.RESERVE TS.ADD TS.ALTER TS.CREATE TS.DECRBY TS.DEL TS.INCRBY VADD VREM VSETATTR
    XCFGSET XNACK""",
}
for what, names in FIRST.items():
    for name in names.split():
        NEWER[name] = (-2, what, ONE_KEY)
TWO_KEYS = ["at(1, 0, 1)", "at(2, 0, 1)"]
MERGED = ["at(1, 0, 1)", "counted(2)"]
EACH_THIRD = ["at(1, -1, 3)"]
NEWER |= {
    "CLUSTERSCAN": (-2, "READ", []),
    "CMS.MERGE": (-4, "WRITE", MERGED),
    "FT.CREATE": (-2, "NONE", []),
    "HOTKEYS": (-2, "NONE", []),
    "JSON.MSET": (-4, "WRITE", EACH_THIRD),
    # The keys have their values between them: keys.rs knows.
    "MSETEX": (-4, "WRITE", ["counted(1)"]),
    "TDIGEST.MERGE": (-4, "WRITE", MERGED),
    "TS.CREATERULE": (-3, "WRITE", TWO_KEYS),
    "TS.DELETERULE": (-3, "WRITE", TWO_KEYS),
    "TS.MADD": (-4, "WRITE", EACH_THIRD),
}
# What later versions take more words for than the one that the table was made from.
LOOSER = {"ZRANK": -3, "ZREVRANK": -3}
HEAD = '''//! Every command of Redis 7 and the additions of Redis 8 and Valkey: arity, effect, where its keys are.
//!
//! Made by `scripts/commands.py`; do not edit.

use super::spec::Effect::{Other as NONE, Read as READ, Repeatable as REPEAT, Write as WRITE};
use super::spec::{Spec, after, at, counted, row};

/// In the order of the names.
#[rustfmt::skip]
pub(super) static TABLE: &[Spec] = &['''


def fields(value):
    """A map, whichever protocol version the server spoke."""
    return value if isinstance(value, dict) else dict(zip(value[::2], value[1::2]))


def keys(specs):
    for spec in map(fields, specs):
        begin, find = fields(spec["begin_search"]), fields(spec["find_keys"])
        if "unknown" in (begin["type"], find["type"]):
            continue  # SORT's patterns: not keys of the call
        b, f = fields(begin["spec"]), fields(find["spec"])
        if begin["type"] == "keyword":
            yield f'after("{b["keyword"]}", {b["startfrom"]}, {f["lastkey"]}, {f["limit"]})'
        elif find["type"] == "keynum":
            yield f'counted({b["index"]})'
        else:
            yield f'at({b["index"]}, {f["lastkey"]}, {f["keystep"]})'


def effect(name, flags):
    if "readonly" in flags:
        return "READ"
    if "write" not in flags:
        return "NONE"
    return "REPEAT" if name in REPEATABLE else "WRITE"


def main():
    rows = {}

    def add(command):
        name, arity, flags = command[0].upper().replace("|", " "), command[1], command[2]
        found = [] if name in CHANNELS else list(keys(command[8]))
        rows[name] = (arity, effect(name, flags), found)
        for sub in command[9]:
            add(sub)

    for command in json.load(sys.stdin):
        add(command)
    for name, row in NEWER.items():
        rows.setdefault(name, row)
    for name, arity in LOOSER.items():
        rows[name] = (arity, *rows[name][1:])
    print(HEAD)
    for name in sorted(rows):
        arity, what, found = rows[name]
        print(f'    row("{name}", {arity}, {what}, &[{", ".join(found)}]),')
    print("];")


main()
