//! Each rule dropped alone, and a seed that it breaks with.

use super::*;

const MANY: Weather = Weather {
    many: true,
    ..Weather::ONE
};
const FULL: Weather = Weather {
    full: true,
    ..Weather::ONE
};

/// A test for each rule. `FLUSTER_RULE=a_name cargo test .. recovery::model::dropped::search -- --ignored` finds a seed.
macro_rules! dropped {
    ($($name:ident: $weather:ident, $seed:literal;)+) => {
        $(
            #[test]
            fn $name() {
                let rules = Rules { $name: true, ..Rules::ALL };
                breaks(rules, $weather, $seed);
            }
        )+

        #[test]
        #[ignore = "it is for who changes the model, and has to find other seeds"]
        fn search() {
            $(
                let rules = Rules { $name: true, ..Rules::ALL };
                first_that_breaks(stringify!($name), rules);
            )+
        }
    };
}

fn first_that_breaks(name: &str, rules: Rules) {
    let wanted = std::env::var("FLUSTER_RULE").unwrap_or_default();
    if !name.contains(&wanted) {
        return;
    }
    for (weather, of) in [("ONE", ONE), ("TWO", TWO), ("MANY", MANY), ("FULL", FULL)] {
        let mut all = seeds(2000);
        let is_broken = |seed: &u64| {
            let (sound, broken) = (run(Rules::ALL, of, *seed), run(rules, of, *seed));
            sound.own == 0 && broken.stale + broken.own > 0
        };
        if let Some(seed) = all.find(is_broken) {
            return println!("{name}: {weather}, {seed};");
        }
    }
    println!("{name}: with none");
}

const ONE: Weather = Weather::ONE;
const TWO: Weather = Weather::TWO;

fn breaks(rules: Rules, weather: Weather, seed: u64) {
    let sound = run(Rules::ALL, weather, seed);
    assert_eq!(
        sound.stale + sound.own,
        0,
        "with all rules: {:?}",
        sound.first
    );
    let all = run(rules, weather, seed);
    // What a process has replaced itself it does not meet again.
    assert!(
        all.stale + all.own > 0,
        "nothing breaks with seed {seed}: {all:?}"
    );
}

dropped! {
    deletes_owe_nothing: ONE, 1875;
    only_the_owner_is_owed: TWO, 193;
    a_failure_in_the_call_owes_nothing: ONE, 83;
    the_entry_is_a_call_of_its_own: FULL, 412;
    nothing_is_entered_late: ONE, 267;
    entered_elsewhere_the_stand_in_is_owed_nothing: ONE, 1719;
    there_is_no_index: ONE, 2;
    index_is_told_when_sent: ONE, 205;
    an_open_set_leaves_the_index: ONE, 3;
    the_open_set_is_worked_off: ONE, 70;
    closed_names_are_used_again: ONE, 106;
    the_index_is_read_once: MANY, 63;
    an_entry_goes_before_its_key: ONE, 209;
    copies_stay: ONE, 28;
    a_node_is_published_unprepared: ONE, 70;
    a_write_leaves_those_that_came_back: ONE, 24;
    nobody_looks: ONE, 7;
    one_look_is_enough: ONE, 14;
    a_new_process_does_not_look: ONE, 6;
}
