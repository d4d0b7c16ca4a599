use std::io::ErrorKind as K;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn seen(phase: Phase, seen: Seen) -> Observation {
    Observation::new(phase, seen, Instant::now())
}

fn setup(kind: K) -> Observation {
    seen(Phase::Setup, Seen::Io(kind, None))
}

fn command(kind: K) -> Observation {
    seen(Phase::Command, Seen::Io(kind, None))
}

fn reply(code: &str, detail: &str) -> Observation {
    seen(Phase::Command, Seen::Error(classify_code(code, detail)))
}

fn strike(reason: Reason) -> Verdict {
    Verdict::Soft(Soft::Strike(reason))
}

fn lost(idle: bool) -> Verdict {
    Verdict::Soft(Soft::Lost { idle })
}

/// So much remains of a wait, the rest was a stall of our own.
fn of_it(millis: u64) -> Ran {
    Ran::Part {
        from: Duration::from_secs(7),
        to: Duration::from_secs(7) + Duration::from_millis(millis),
    }
}

fn timeout(o: &Observation) -> Verdict {
    Verdict::Soft(Soft::Timeout {
        sent_at: o.sent_at,
        silent: o.silent,
        wait: Wait {
            ran: o.ran,
            limit: o.limit,
        },
    })
}

use ConnectionAction::{Discard, Keep};
use Verdict::{Alive, Hard, Neutral};

#[test]
fn every_reply_code_has_its_verdict_its_fate_and_its_route() {
    let read_only = "You can't write against a read only replica.";
    let demoted =
        "force unblock from blocking operation, instance state changed (master -> replica?)";
    let rows = [
        (
            "LOADING",
            "Redis is loading the dataset in memory",
            Hard(Reason::NotReady),
            Keep,
            Disposition::Rejected,
        ),
        (
            "MASTERDOWN",
            "Link with MASTER is down",
            Hard(Reason::NotReady),
            Keep,
            Disposition::Rejected,
        ),
        (
            "CLUSTERDOWN",
            "The cluster is down",
            Hard(Reason::NotReady),
            Keep,
            Disposition::Rejected,
        ),
        (
            "BUSY",
            "Redis is busy running a script",
            strike(Reason::Busy),
            Keep,
            Disposition::Rejected,
        ),
        (
            "ERR",
            "max number of clients reached",
            strike(Reason::MaxClients),
            Discard,
            Disposition::Rejected,
        ),
        (
            "DENIED",
            "Redis is running in protected mode",
            strike(Reason::Config),
            Discard,
            Disposition::Answer,
        ),
        ("READONLY", read_only, Alive, Keep, Disposition::NotServing),
        (
            "NOREPLICAS",
            "Not enough good replicas to write.",
            Alive,
            Keep,
            Disposition::NotServing,
        ),
        (
            "OOM",
            "command not allowed when used memory > 'maxmemory'.",
            Alive,
            Keep,
            Disposition::NotServing,
        ),
        (
            "MISCONF",
            "Redis is configured to save RDB snapshots",
            Alive,
            Keep,
            Disposition::NotServing,
        ),
        ("UNBLOCKED", demoted, Alive, Keep, Disposition::NotServing),
        (
            "UNBLOCKED",
            "client unblocked via CLIENT UNBLOCK",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "NOAUTH",
            "Authentication required.",
            Alive,
            Discard,
            Disposition::Answer,
        ),
        (
            "WRONGPASS",
            "invalid username-password pair",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "NOPERM",
            "this user has no permissions",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "WRONGTYPE",
            "Operation against a key",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "ERR",
            "value is not an integer or out of range",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "ERR",
            "unknown command 'FOO'",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "NOSCRIPT",
            "No matching script.",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "CROSSSLOT",
            "Keys in request don't hash to the same slot",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "MOVED",
            "3999 127.0.0.1:6381",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "ASK",
            "3999 127.0.0.1:6381",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "TRYAGAIN",
            "Multiple keys request during rehashing",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "EXECABORT",
            "Transaction discarded",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "NOTBUSY",
            "No scripts in execution right now.",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "UNKILLABLE",
            "Sorry the script already executed writes",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "BUSYGROUP",
            "Consumer Group name already exists",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "BUSYKEY",
            "Target key name already exists.",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "NOGROUP",
            "No such key or consumer group",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        ("NOSUB", "", Alive, Keep, Disposition::Answer),
        (
            "NOPROTO",
            "unsupported protocol version",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "INPROG",
            "Failover already in progress.",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "NOMASTERLINK",
            "Can't SYNC while not connected",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "IOERR",
            "error or timeout writing to target instance",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        (
            "NOQUORUM",
            "Not enough available Sentinels",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        ("STALE", "", Alive, Keep, Disposition::Answer),
        (
            "loading",
            "codes are upper case",
            Alive,
            Keep,
            Disposition::Answer,
        ),
        ("", "", Alive, Keep, Disposition::Answer),
    ];
    for (code, detail, verdict, fate, next) in rows {
        let o = reply(code, detail);
        let judged = judge(&o);
        assert_eq!(judged.verdict, verdict, "verdict on {code} {detail}");
        assert_eq!(judged.connection, fate, "connection after {code} {detail}");
        assert_eq!(disposition(&o), next, "route of {code} {detail}");
        let refuses = next == Disposition::NotServing;
        assert_eq!(
            judged.refuses_writes, refuses,
            "write hint of {code} {detail}"
        );
        assert!(!judged.verify, "{code} needs no dial");
    }
}

#[test]
fn every_error_of_a_dial_has_its_verdict() {
    let now = Instant::now();
    for (kind, verdict) in [
        (K::ConnectionRefused, Hard(Reason::Refused)),
        (K::NotFound, Hard(Reason::Refused)),
        (K::HostUnreachable, Hard(Reason::Unreachable)),
        (K::NetworkUnreachable, Hard(Reason::Unreachable)),
        (K::NetworkDown, Hard(Reason::Unreachable)),
        (K::TimedOut, Hard(Reason::Timeout)),
        (K::WouldBlock, Hard(Reason::Timeout)),
        (K::ConnectionReset, strike(Reason::Lost)),
        (K::ConnectionAborted, strike(Reason::Lost)),
        (K::BrokenPipe, strike(Reason::Lost)),
        (K::NotConnected, strike(Reason::Lost)),
        (K::UnexpectedEof, strike(Reason::Lost)),
        (K::InvalidData, Hard(Reason::Config)),
        (K::PermissionDenied, Hard(Reason::Config)),
        (K::AddrNotAvailable, Neutral),
        (K::AddrInUse, Neutral),
        (K::OutOfMemory, Neutral),
        (K::InvalidInput, Neutral),
        (K::Unsupported, Neutral),
        (K::Other, strike(Reason::Io)),
    ] {
        let o = Observation::new(Phase::Setup, Seen::Io(kind, None), now);
        assert_eq!(judge(&o).verdict, verdict, "dial: {kind:?}");
        assert_eq!(judge(&o).connection, Discard, "dial: {kind:?}");
        let misuse = matches!(kind, K::InvalidInput | K::Unsupported);
        let next = if misuse {
            Disposition::Answer
        } else {
            Disposition::NotSent
        };
        assert_eq!(disposition(&o), next, "dial: {kind:?}");
    }
    for other in [
        (Seen::Dns, strike(Reason::Dns), Disposition::NotSent),
        (
            Seen::Certificate,
            Hard(Reason::Config),
            Disposition::NotSent,
        ),
        (
            Seen::Credentials,
            Hard(Reason::Config),
            Disposition::NotSent,
        ),
        (Seen::Misuse, Neutral, Disposition::Answer),
        (Seen::Garbage, Hard(Reason::NotRedis), Disposition::NotSent),
    ] {
        let o = seen(Phase::Setup, other.0);
        assert_eq!(judge(&o).verdict, other.1, "dial: {:?}", other.0);
        assert_eq!(disposition(&o), other.2, "dial: {:?}", other.0);
    }
    let done = judge(&seen(Phase::Setup, Seen::Value));
    assert_eq!(
        (done.verdict, done.connection),
        (Alive, Keep),
        "a finished set-up"
    );
}

#[cfg(unix)]
#[test]
fn our_own_limit_on_open_files_says_nothing_about_a_node() {
    for number in [23, 24] {
        let o = seen(Phase::Setup, Seen::Io(K::Other, Some(number)));
        assert_eq!(judge(&o).verdict, Neutral, "errno {number}");
        assert_eq!(disposition(&o), Disposition::NotSent, "errno {number}");
    }
}

#[test]
fn a_dial_that_times_out_is_proof_only_without_a_recent_success() {
    let mut o = setup(K::TimedOut);
    for (ago, hard) in [
        (None, true),
        (Some(1_001), true),
        (Some(1_000), false),
        (Some(0), false),
    ] {
        o.since_success = ago.map(Duration::from_millis);
        let verdict = if hard {
            Hard(Reason::Timeout)
        } else {
            timeout(&o)
        };
        assert_eq!(judge(&o).verdict, verdict, "last success {ago:?} ms ago");
    }
    o.since_success = None;
    (o.limit, o.ran) = (Duration::from_millis(500), of_it(250));
    assert_eq!(judge(&o).verdict, Hard(Reason::Timeout), "half is enough");
    o.ran = of_it(249);
    assert_eq!(judge(&o).verdict, timeout(&o), "mostly our own stall");
}

#[test]
fn what_the_server_wrote_before_closing_decides_about_a_dial() {
    let full = b"-ERR max number of clients reached\r\n";
    let denied = b"-DENIED Redis is running in protected mode because...\r\n";
    for (line, live, verdict, next) in [
        (
            &full[..],
            false,
            strike(Reason::MaxClients),
            Disposition::Rejected,
        ),
        (&full[..], true, Neutral, Disposition::Rejected),
        (
            &denied[..],
            false,
            strike(Reason::Config),
            Disposition::NotSent,
        ),
        (&denied[..], true, Neutral, Disposition::NotSent),
        (
            b"-LOADING Redis is loading\r\n",
            false,
            Hard(Reason::NotReady),
            Disposition::Rejected,
        ),
        (
            b"-BUSY Redis is busy\r\n",
            false,
            strike(Reason::Busy),
            Disposition::Rejected,
        ),
        (
            b"-NOAUTH Authentication required.\r\n",
            false,
            Hard(Reason::Config),
            Disposition::NotSent,
        ),
        (
            b"+OK\r\n-WRONGPASS invalid\r\n",
            false,
            Hard(Reason::Config),
            Disposition::NotSent,
        ),
        (
            b"+OK\r\n",
            false,
            strike(Reason::Lost),
            Disposition::NotSent,
        ),
        (b"", false, strike(Reason::Lost), Disposition::NotSent),
        (
            b"\xff\xfe-",
            false,
            strike(Reason::Lost),
            Disposition::NotSent,
        ),
    ] {
        let mut o = setup(K::BrokenPipe);
        o.line = classify_line(line);
        o.has_live = live;
        let text = String::from_utf8_lossy(line);
        assert_eq!(
            judge(&o).verdict,
            verdict,
            "{text:?}, live connection: {live}"
        );
        assert_eq!(disposition(&o), next, "{text:?}");
    }
    // `SELECT` against a busy server: the client library says "refused to switch database".
    let mut o = seen(Phase::Setup, Seen::Error(Class::Answer));
    assert_eq!(
        judge(&o).verdict,
        Hard(Reason::Config),
        "database out of range"
    );
    o.line = classify_line(b"-BUSY Redis is busy\r\n");
    assert_eq!(
        judge(&o).verdict,
        strike(Reason::Busy),
        "the line knows better"
    );
    let mut o = seen(Phase::Setup, Seen::Garbage);
    o.line = classify_line(b"-ERR max number of clients reached\r\n");
    assert_eq!(
        judge(&o).verdict,
        strike(Reason::MaxClients),
        "not garbage at all"
    );
}

#[test]
fn error_replies_during_set_up_are_about_the_configuration() {
    for (code, verdict, next) in [
        ("NOAUTH", Hard(Reason::Config), Disposition::NotSent),
        ("WRONGPASS", Hard(Reason::Config), Disposition::NotSent),
        ("NOPERM", Hard(Reason::Config), Disposition::NotSent),
        ("ERR", Hard(Reason::Config), Disposition::NotSent),
        ("LOADING", Hard(Reason::NotReady), Disposition::Rejected),
        ("NOPROTO", Neutral, Disposition::Answer),
    ] {
        let o = seen(Phase::Setup, Seen::Error(classify_code(code, "")));
        assert_eq!(judge(&o).verdict, verdict, "{code}");
        assert_eq!(disposition(&o), next, "{code}");
    }
}

#[test]
fn a_command_that_times_out_is_a_strike_unless_it_is_our_own_doing() {
    let mut o = command(K::TimedOut);
    for silent in [false, true] {
        o.silent = silent;
        assert_eq!(judge(&o).verdict, timeout(&o), "silent: {silent}");
    }
    (o.limit, o.ran) = (Duration::from_millis(500), of_it(100));
    assert_eq!(judge(&o).verdict, timeout(&o), "with what remains of it");
    o.ran = Ran::Throughout;
    o.own_limit = true;
    assert_eq!(judge(&o).verdict, Neutral, "a blocking command's own limit");
    assert_eq!(judge(&o).connection, Discard, "its reply may still come");
    assert_eq!(
        disposition(&o),
        Disposition::MaybeExecuted,
        "it was written"
    );
    o.written = false;
    assert_eq!(disposition(&o), Disposition::NotSent, "and never will be");
}

#[test]
fn a_broken_connection_is_judged_by_how_long_it_was_unused() {
    for kind in [
        K::ConnectionReset,
        K::BrokenPipe,
        K::UnexpectedEof,
        K::ConnectionAborted,
    ] {
        let mut o = command(kind);
        for (unused, idle) in [(0, false), (999, false), (1_000, true), (60_000, true)] {
            o.unused_for = unused * MS;
            let judged = judge(&o);
            assert_eq!(judged.verdict, lost(idle), "{kind:?} after {unused} ms");
            assert_eq!(judged.connection, Discard, "{kind:?}");
            assert!(judged.verify, "one dial tells whether it is gone");
        }
        assert_eq!(disposition(&o), Disposition::MaybeExecuted, "{kind:?}");
        o.written = false;
        assert_eq!(
            disposition(&o),
            Disposition::NotSent,
            "{kind:?}: provably not written"
        );
    }
}

#[test]
fn other_ends_of_a_command_have_their_verdicts() {
    for (what, verdict, fate, next) in [
        (Seen::Value, Alive, Keep, Disposition::Answer),
        (
            Seen::Garbage,
            Hard(Reason::NotRedis),
            Discard,
            Disposition::MaybeExecuted,
        ),
        (
            Seen::Unsolicited,
            Neutral,
            Discard,
            Disposition::MaybeExecuted,
        ),
        (Seen::Misuse, Neutral, Keep, Disposition::Answer),
        (Seen::PoolClosed, Neutral, Keep, Disposition::NotSent),
        (
            Seen::Io(K::HostUnreachable, None),
            strike(Reason::Unreachable),
            Discard,
            Disposition::MaybeExecuted,
        ),
        (
            Seen::Io(K::Other, None),
            lost(false),
            Discard,
            Disposition::MaybeExecuted,
        ),
    ] {
        let o = seen(Phase::Command, what);
        let judged = judge(&o);
        assert_eq!(
            (judged.verdict, judged.connection),
            (verdict, fate),
            "{what:?}"
        );
        assert_eq!(disposition(&o), next, "{what:?}");
    }
}

#[test]
fn only_a_broken_connection_asks_for_a_dial() {
    let asks = |phase, what| judge(&seen(phase, what)).verify;
    for kind in [K::ConnectionReset, K::HostUnreachable, K::Other] {
        assert!(asks(Phase::Command, Seen::Io(kind, None)), "{kind:?}");
        assert!(
            !asks(Phase::Setup, Seen::Io(kind, None)),
            "it was one: {kind:?}"
        );
    }
    let by_the_kernel = Seen::Io(K::TimedOut, Some(110));
    assert!(asks(Phase::Command, by_the_kernel));
    for ours in [K::TimedOut, K::AddrNotAvailable, K::InvalidInput] {
        assert!(!asks(Phase::Command, Seen::Io(ours, None)), "{ours:?}");
    }
    for what in [Seen::Value, Seen::Garbage, Seen::Unsolicited, Seen::Misuse] {
        assert!(!asks(Phase::Command, what), "{what:?}");
    }
}

#[test]
fn an_aborted_transaction_is_judged_by_the_worst_error_inside() {
    let class = |codes: &[&str]| worst(codes.iter().map(|code| classify_code(code, "")));
    for (codes, expected) in [
        (&[][..], Class::Answer),
        (&["EXECABORT"][..], Class::Answer),
        (&["EXECABORT", "READONLY"][..], Class::ReadOnly),
        (&["READONLY", "WRONGTYPE"][..], Class::ReadOnly),
        (&["OOM", "READONLY"][..], Class::ReadOnly),
        (&["NOAUTH", "ERR"][..], Class::NoAuth),
        (&["BUSY", "OOM"][..], Class::Busy),
        (&["LOADING", "BUSY", "ERR"][..], Class::NotReady),
        (&["ERR", "MASTERDOWN"][..], Class::NotReady),
    ] {
        assert_eq!(class(codes), expected, "{codes:?}");
    }
}

#[test]
fn a_probe_succeeds_only_when_the_node_serves() {
    use ProbeResult::{Config, Failed, NotReady, NotRedis, NotRun, Ok};
    for (code, detail, result) in [
        ("LOADING", "", NotReady(Reason::NotReady)),
        ("MASTERDOWN", "", NotReady(Reason::NotReady)),
        ("CLUSTERDOWN", "", NotReady(Reason::NotReady)),
        ("BUSY", "", NotReady(Reason::Busy)),
        ("MISCONF", "", Ok),
        ("NOPERM", "", Ok),
        ("ERR", "unknown command 'PING'", Ok),
        ("NOAUTH", "", Config),
        ("WRONGPASS", "", Config),
        ("DENIED", "", Config),
        (
            "ERR",
            "max number of clients reached",
            Failed(Reason::MaxClients),
        ),
        ("ERR", "upstream failure", Failed(Reason::Protocol)),
    ] {
        assert_eq!(
            judge_probe(&reply(code, detail)),
            result,
            "PING says {code} {detail}"
        );
    }
    for (what, result) in [
        (Seen::Value, Ok),
        (Seen::WrongToken, NotRedis),
        (Seen::Io(K::TimedOut, None), Failed(Reason::Timeout)),
        (Seen::Io(K::BrokenPipe, None), Failed(Reason::Lost)),
    ] {
        assert_eq!(
            judge_probe(&seen(Phase::Command, what)),
            result,
            "PING: {what:?}"
        );
    }
    for (what, result) in [
        (Seen::Value, Failed(Reason::Protocol)),
        (
            Seen::Io(K::ConnectionRefused, None),
            Failed(Reason::Refused),
        ),
        (
            Seen::Io(K::HostUnreachable, None),
            Failed(Reason::Unreachable),
        ),
        (Seen::Io(K::TimedOut, None), Failed(Reason::Timeout)),
        (Seen::Io(K::ConnectionReset, None), Failed(Reason::Lost)),
        (Seen::Io(K::AddrNotAvailable, None), NotReady(Reason::Io)),
        (Seen::Garbage, NotRedis),
        (Seen::Dns, Failed(Reason::Dns)),
        (Seen::Certificate, Config),
        (Seen::Credentials, Config),
        (Seen::Misuse, Config),
        (Seen::Error(Class::Answer), Config),
        (Seen::Error(Class::NotReady), NotReady(Reason::NotReady)),
    ] {
        assert_eq!(
            judge_probe(&seen(Phase::Setup, what)),
            result,
            "set-up: {what:?}"
        );
    }
    let mut o = setup(K::BrokenPipe);
    o.line = Some(Class::MaxClients);
    assert_eq!(judge_probe(&o), Failed(Reason::MaxClients), "full");
    o.line = Some(Class::Denied);
    assert_eq!(judge_probe(&o), Config, "protected mode");
    let mut o = setup(K::TimedOut);
    (o.limit, o.ran) = (Duration::from_millis(500), of_it(249));
    assert_eq!(judge_probe(&o), NotRun, "our own stall: nothing learnt");
    let mut o = command(K::TimedOut);
    (o.limit, o.ran) = (Duration::from_millis(500), of_it(249));
    assert_eq!(judge_probe(&o), NotRun, "nor by its PING");
    o.ran = of_it(250);
    assert_eq!(judge_probe(&o), Failed(Reason::Timeout));
}

#[test]
fn reasons_have_distinct_names() {
    use Reason::*;
    let all = [
        Refused,
        Unreachable,
        Timeout,
        Lost,
        NotRedis,
        Protocol,
        Dns,
        Config,
        NotReady,
        Busy,
        MaxClients,
        Io,
    ];
    let mut names: Vec<_> = all.iter().map(|reason| reason.to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all.len());
    assert_eq!(MaxClients.as_str(), "max_clients");
}
