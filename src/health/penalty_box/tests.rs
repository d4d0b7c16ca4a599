use super::*;
use crate::build_error::BuildError;

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The box of the original's tests: half a second, at most two.
fn original() -> PenaltyBox<&'static str> {
    PenaltyBox::new(
        Penalty::fluster_py()
            .min_wait(secs(0.5))
            .max_wait(secs(2.0)),
    )
}

/// The original's own test, with the second it sleeps as an argument.
#[test]
fn test_penalty_box() {
    let start = Instant::now();
    let mut penalty_box = original();
    penalty_box.add("foo", start, 0.0);
    assert_eq!(penalty_box.due(start).next(), None, "not yet");
    let client = penalty_box.due(start + secs(1.0)).next();
    assert_eq!(client, Some("foo"), "its wait is over");
    assert!(penalty_box.released(&"foo"), "it answered");
    assert!(penalty_box.is_empty(), "nobody is left");
}

/// The original's own test: the first attempt fails, the second one succeeds.
#[test]
fn test_penalty_box_backoff() {
    let start = Instant::now();
    let mut penalty_box = original();
    penalty_box.add("foo", start, 0.0);
    assert_eq!(penalty_box.due(start).next(), None, "not yet");
    assert_eq!(
        penalty_box.pop_due(start + secs(1.0)),
        Some("foo"),
        "first attempt"
    );
    let wait = penalty_box.failed(&"foo", start + secs(1.0), 0.0);
    assert_eq!(
        wait,
        Some(secs(0.75)),
        "half as long again; the original waits 0 s here"
    );
    assert_eq!(
        penalty_box.pop_due(start + secs(1.7)),
        None,
        "still waiting"
    );
    assert_eq!(
        penalty_box.pop_due(start + secs(2.0)),
        Some("foo"),
        "second attempt"
    );
    assert!(penalty_box.released(&"foo"), "it answered");
}

#[test]
fn waits_grow_by_the_multiplier_up_to_the_maximum() {
    let table = |penalty: Penalty| {
        let schedule = Schedule::new(&penalty);
        (1..=schedule.max_level())
            .map(|level| schedule.nominal(level).as_secs_f64())
            .collect::<Vec<_>>()
    };
    let defaults = table(Penalty::default());
    assert_eq!(
        defaults,
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0],
        "the default table"
    );
    let original = table(
        Penalty::fluster_py()
            .min_wait(secs(0.5))
            .max_wait(secs(2.0)),
    );
    assert_eq!(
        original,
        [0.5, 0.75, 1.125, 1.6875, 2.0],
        "fractions are kept"
    );
    let original = table(Penalty::fluster_py());
    assert_eq!(
        original[..4],
        [10.0, 15.0, 22.5, 33.75],
        "the original's start"
    );
    assert_eq!(original.last(), Some(&300.0), "the original's end");
    let flat = table(Penalty::default().multiplier(1.0));
    assert_eq!(flat, [0.1], "a multiplier of 1 never grows");
    let equal = table(Penalty::default().max_wait(secs(0.1)));
    assert_eq!(equal, [0.1], "the maximum is reached at once");
    let slow = table(Penalty::default().multiplier(1.0001));
    assert!(slow.len() <= 1_000, "the table is bounded: {}", slow.len());
}

#[test]
fn jitter_stays_in_the_upper_half() {
    let schedule = Schedule::new(&Penalty::default());
    let nominal = secs(0.8);
    assert_eq!(schedule.draw(nominal, 0.0), secs(0.4), "shortest");
    assert_eq!(schedule.draw(nominal, 0.5), secs(0.6), "middle");
    assert_eq!(schedule.draw(nominal, 1.0), secs(0.8), "longest");
    for unit in [-1.0, 2.0, f64::NAN, f64::INFINITY] {
        let wait = schedule.draw(nominal, unit);
        assert!(
            (secs(0.4)..=nominal).contains(&wait),
            "{unit} gives {wait:?}"
        );
    }
    let schedule = Schedule::new(&Penalty::default().jitter(false));
    assert_eq!(schedule.draw(nominal, 0.0), nominal, "no jitter");
}

#[test]
fn a_key_that_is_added_twice_keeps_its_wait() {
    let start = Instant::now();
    let mut penalty_box = original();
    assert_eq!(penalty_box.add("foo", start, 0.0), secs(0.5));
    let left = penalty_box.add("foo", start + secs(0.2), 0.0);
    assert_eq!(left, secs(0.3), "what is left of the first wait");
    assert_eq!(penalty_box.len(), 1, "it is inside once");
    assert_eq!(penalty_box.pop_due(start + secs(0.5)), Some("foo"));
    assert_eq!(
        penalty_box.add("foo", start + secs(0.5), 0.0),
        Duration::ZERO
    );
    assert_eq!(
        penalty_box.pop_due(start + secs(9.0)),
        None,
        "it is being tried, not waiting"
    );
    assert!(
        penalty_box.is_penalized(&"foo"),
        "until it is known to work"
    );
}

#[test]
fn keys_come_out_in_the_order_of_their_release() {
    let start = Instant::now();
    let mut penalty_box = PenaltyBox::new(Penalty::default());
    penalty_box.add('c', start, 1.0);
    penalty_box.add('a', start, 0.5);
    penalty_box.add('b', start, 0.0);
    assert_eq!(penalty_box.next_release(), Some(start + secs(0.05)));
    let out: Vec<_> = penalty_box.due(start + secs(0.08)).collect();
    assert_eq!(out, ['b', 'a'], "c still waits");
    assert_eq!(penalty_box.next_release(), Some(start + secs(0.1)));
}

#[test]
fn a_wait_can_be_shortened_but_not_lengthened() {
    let start = Instant::now();
    let mut penalty_box = original();
    penalty_box.add("foo", start, 0.0);
    assert!(
        !penalty_box.pull_forward(&"foo", start + secs(0.6)),
        "later is refused"
    );
    assert!(
        penalty_box.pull_forward(&"foo", start + secs(0.1)),
        "sooner is taken"
    );
    assert!(
        !penalty_box.pull_forward(&"bar", start),
        "nobody of that name"
    );
    assert_eq!(penalty_box.pop_due(start + secs(0.1)), Some("foo"));
    assert!(
        !penalty_box.pull_forward(&"foo", start),
        "it waits no longer"
    );
    let wait = penalty_box.failed(&"foo", start + secs(0.1), 0.0);
    assert_eq!(wait, Some(secs(0.75)), "the level is not forgotten");
}

#[test]
fn a_released_key_starts_anew_and_a_late_failure_is_ignored() {
    let start = Instant::now();
    let mut penalty_box = original();
    penalty_box.add("foo", start, 0.0);
    assert!(penalty_box.failed(&"foo", start, 0.0).is_some());
    assert!(penalty_box.released(&"foo"), "released while it waits");
    assert!(!penalty_box.released(&"foo"), "only once");
    assert_eq!(penalty_box.failed(&"foo", start, 0.0), None, "too late");
    assert_eq!(penalty_box.next_release(), None, "no timer is left behind");
    assert_eq!(
        penalty_box.add("foo", start, 0.0),
        secs(0.5),
        "the first wait again"
    );
}

#[test]
fn a_wait_never_exceeds_the_maximum() {
    let start = Instant::now();
    let mut penalty_box = original();
    penalty_box.add("foo", start, 1.0);
    for attempt in 0..20 {
        let wait = penalty_box.failed(&"foo", start, 1.0);
        assert!(wait <= Some(secs(2.0)), "attempt {attempt} waits {wait:?}");
    }
    assert_eq!(penalty_box.failed(&"foo", start, 1.0), Some(secs(2.0)));
}

#[test]
fn values_out_of_range_are_refused_with_a_reason() {
    let day = Duration::from_secs(86_400);
    let with = Penalty::default;
    let zero = Duration::ZERO;
    for (penalty, word) in [
        (with().min_wait(zero), "min_wait"),
        (with().min_wait(day), "max_wait"),
        (with().multiplier(0.99), "multiplier"),
        (with().multiplier(f64::NAN), "multiplier"),
        (with().multiplier(f64::INFINITY), "multiplier"),
        (with().strikes(0), "strikes"),
        (with().rate_percent(0), "rate_percent"),
        (with().rate_percent(101), "rate_percent"),
        (with().rise(0), "rise"),
        (with().probe_timeout(zero), "probe_timeout"),
        (with().not_ready_max(zero), "not_ready_max"),
        (with().probation_oks(0), "probation"),
        (with().flap_hold(zero), "flap_hold"),
        (with().demand_min(zero), "demand_min"),
        (with().demand_min(day), "demand_max"),
    ] {
        match penalty.validate() {
            Err(BuildError::Option { name, why }) => {
                assert_eq!(name, "penalty");
                assert!(why.contains(word), "\"{why}\" should name {word}");
            }
            other => panic!("{word}: {other:?}"),
        }
    }
}

#[test]
fn the_presets_and_what_their_zeros_turn_off_are_valid() {
    for penalty in [
        Penalty::default(),
        Penalty::fluster_py(),
        Penalty::default()
            .probation(Duration::ZERO)
            .probation_oks(0),
        Penalty::default().flap_count(0).flap_hold(Duration::ZERO),
        Penalty::default()
            .rate_min(0)
            .probe_gap(Duration::ZERO)
            .decay(Duration::ZERO),
    ] {
        assert_eq!(penalty.validate(), Ok(()), "{penalty:?}");
    }
}

#[test]
fn a_box_survives_parameters_that_validate_refuses() {
    let start = Instant::now();
    for penalty in [
        Penalty::default()
            .multiplier(f64::NAN)
            .min_wait(Duration::MAX),
        Penalty::default().min_wait(Duration::ZERO),
        Penalty::default()
            .min_wait(Duration::MAX)
            .max_wait(Duration::MAX),
        Penalty::default().multiplier(f64::MAX),
    ] {
        let mut penalty_box = PenaltyBox::new(penalty.clone());
        let wait = penalty_box.add(1, start, 1.0);
        assert!(wait <= penalty.max_wait, "{penalty:?} waits {wait:?}");
        penalty_box.failed(&1, start, 1.0);
        assert_eq!(penalty_box.len(), 1);
    }
}
