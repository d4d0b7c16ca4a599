use super::*;

#[test]
fn a_rule_survives_its_string() {
    for text in [
        "ring",
        "ring:points=1",
        "ring:points=160,hash_tags=$$",
        "ring:hash_tags=,,",
        "ring:hash_tags==,",
        "rendezvous",
        "rendezvous:hash_tags=off",
        "modulo",
        "modulo:hash_tags=redis-rb",
        "fluster-py",
        "fastring",
        "fastring:virtual_nodes=65535",
    ] {
        let placement: Placement = text.parse().expect("a RULE");
        assert_eq!(placement.to_string(), text);
    }
}

#[test]
fn defaults_are_left_out_of_the_string() {
    for (text, short) in [
        ("ring:points=128", "ring"),
        ("ring:hash_tags=redis,points=128", "ring"),
        ("ring:hash_tags={}", "ring"),
        ("ring:hash_tags=,;,points=7", "ring:points=7,hash_tags=,;"),
        ("ring:points=7,hash_tags=off", "fastring:virtual_nodes=7"),
        ("fastring:hash_tags=redis", "ring"),
        ("fastring:virtual_nodes=128", "fastring"),
        ("modulo:hash_tags=off", "fluster-py"),
        ("fluster-py:hash_tags=redis", "modulo"),
    ] {
        assert_eq!(
            text.parse::<Placement>().expect("a RULE").to_string(),
            short,
            "{text}"
        );
    }
}

fn refused(cases: &[(&str, &str)]) {
    for (text, fault) in cases {
        let error = text.parse::<Placement>().expect_err(text).to_string();
        assert!(
            error.contains(fault) && error.contains("placement") && !error.contains('\n'),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_bad_rule_is_refused_by_the_name_of_its_fault() {
    refused(&[
        ("", "\"\" is no rule"),
        ("Ring", "\"Ring\" is no rule"),
        ("ketama", "\"ketama\" is no rule"),
        ("ring:", "PARAM=VALUE"),
        ("ring:points", "\"points\" in \"ring:points\""),
        ("ring:points=", "points= is not a whole number"),
        ("ring:points=0", "points=0"),
        ("ring:points=-1", "points=-1"),
        ("ring:points=1e3", "points=1e3"),
        ("ring:points=65536", "points=65536"),
        ("ring:points=1,points=2", "`points` twice"),
        ("ring:point=1", "no parameter `point`"),
        ("modulo:points=1", "rule `modulo` has no parameter `points`"),
        (
            "fastring:points=1",
            "rule `fastring` has no parameter `points`",
        ),
        ("fastring:virtual_nodes=0", "virtual_nodes=0"),
        ("modulo:hash_tags=on,", "PARAM=VALUE"),
        ("modulo:hash_tags=maybe", "hash_tags=maybe"),
        ("modulo:hash_tags=", "hash_tags="),
        ("modulo:hash_tags=,", "PARAM=VALUE"),
        ("modulo:hash_tags=é,x", "\"x\""),
    ]);
}

#[cfg(not(feature = "compat"))]
#[test]
fn a_rule_that_is_not_built_in_names_its_feature() {
    for name in ELSEWHERE {
        refused(&[(name, "needs the feature `compat`")]);
        refused(&[(&format!("{name}:x=1"), "needs the feature `compat`")]);
    }
}

#[cfg(feature = "compat")]
#[test]
fn a_rule_of_another_library_survives_its_string() {
    for text in [
        "go-redis",
        "go-redis:hash_tags=off",
        "proxenos",
        "proxenos:method=MMH3_128,seed=42,optimize=x86",
        "proxenos:method=SHA384",
        "proxenos:secret=000102030405060708090a0b0c0d0e0f",
        "ringpop",
        "ringpop:replica_points=1,hash_tags=redis",
        "twemproxy",
        "twemproxy:distribution=modula,hash=one_at_a_time,auto_eject=true,hash_tags=$$",
        "redis-rb",
        "redis-rb:hash_tags=redis",
        "redis-array",
        "redis-array:consistent=true,algorithm=sha256",
        "redis-array:hash_tags=off",
    ] {
        let placement: Placement = text.parse().expect(text);
        assert_eq!(placement.to_string(), text);
    }
    for (text, short) in [
        (
            "twemproxy:auto_eject=false,hash=fnv1a_64,distribution=ketama",
            "twemproxy",
        ),
        ("twemproxy:hash_tags={}", "twemproxy:hash_tags=redis"),
        (
            "proxenos:secret=d906b07a881315ce308847a8c4de69c6,method=SIPHASH",
            "proxenos",
        ),
        (
            "proxenos:method=MMH3_64,optimize=x64,seed=0",
            "proxenos:method=MMH3_64",
        ),
        ("ringpop:replica_points=100", "ringpop"),
        ("redis-array:consistent=false", "redis-array"),
    ] {
        assert_eq!(text.parse::<Placement>().expect(text).to_string(), short);
    }
}

#[cfg(feature = "compat")]
#[test]
fn a_bad_parameter_of_another_library_is_named() {
    refused(&[
        (
            "go-redis:points=1",
            "rule `go-redis` has no parameter `points`",
        ),
        (
            "redis-rb:points=160",
            "rule `redis-rb` has no parameter `points`",
        ),
        (
            "proxenos:method=sha1",
            "method=sha1 is not known: write one of SIPHASH, MD5",
        ),
        ("proxenos:seed=1", "method=SIPHASH has no `seed`"),
        (
            "proxenos:method=MD5,secret=00",
            "method=MD5 has no `secret`",
        ),
        (
            "proxenos:method=MMH3_32,optimize=x86",
            "method=MMH3_32 has no `optimize`",
        ),
        ("proxenos:method=MMH3_32,seed=-1", "seed=-1"),
        ("proxenos:method=MMH3_64,optimize=arm", "optimize=arm"),
        (
            "proxenos:secret=+00102030405060708090a0b0c0d0e0f",
            "32 hexadecimal digits",
        ),
        ("proxenos:secret=abc", "32 hexadecimal digits"),
        (
            "ringpop:replica_points=0",
            "replica_points=0 is not a whole number",
        ),
        (
            "twemproxy:distribution=random",
            "distribution=random is not known: write one of ketama, modula",
        ),
        (
            "twemproxy:hash=sha1",
            "hash=sha1 is not known: write one of one_at_a_time",
        ),
        (
            "twemproxy:auto_eject=yes",
            "auto_eject=yes is not known: write `true` or `false`",
        ),
        (
            "twemproxy:auto_eject_hosts=true",
            "no parameter `auto_eject_hosts`",
        ),
        (
            "redis-array:algorithm=md4",
            "algorithm=md4 is not known: write one of md5",
        ),
        ("redis-array:consistent=1", "consistent=1 is not known"),
    ]);
    let error = "proxenos:secret=hunter2"
        .parse::<Placement>()
        .expect_err("no hex");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[cfg(feature = "compat")]
#[test]
fn status_and_logs_do_not_show_a_secret() {
    let rule: Placement = "proxenos:secret=000102030405060708090a0b0c0d0e0f,hash_tags=redis"
        .parse()
        .expect("a RULE");
    assert_eq!(rule.shown(), "proxenos:secret=<hidden>,hash_tags=redis");
    assert_eq!(Placement::ring().shown(), "ring");
}
