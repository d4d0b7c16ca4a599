//! The key finder on arbitrary calls. `PROPTEST_CASES` sets how many.

use proptest::collection::vec;
use proptest::prelude::*;

use super::spec::Spec;
use super::table::TABLE;
use super::{block, is_read_only, state};

/// Words that commands look for, numbers of keys that lie, and anything else.
fn any_word() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "",
        "0",
        "1",
        "2",
        "3",
        "-1",
        "+1",
        "255",
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775807",
        "nan",
        "KEYS",
        "keys",
        "STREAMS",
        "Streams",
        "STORE",
        "STOREDIST",
        "BY",
        "GET",
        "LIMIT",
        "BLOCK",
        "GROUP",
        "COUNT",
        "WEIGHTS",
    ]);
    prop_oneof![
        4 => known.prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..30),
    ]
}

/// The name of a command of the table, in any case, its subcommand a word of its own; or nonsense.
fn any_name() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let known = (0..TABLE.len(), any::<bool>()).prop_map(|(at, lower)| {
        let name = match lower {
            true => TABLE[at].name.to_ascii_lowercase(),
            false => TABLE[at].name.to_owned(),
        };
        name.split(' ').map(|word| word.into()).collect()
    });
    prop_oneof![
        9 => known,
        1 => vec(vec(any::<u8>(), 0..30), 0..3),
    ]
}

/// What must hold of every call.
fn check(spec: &Spec, words: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let args = || words.iter().map(Vec::as_slice);
    let Ok(found) = spec.key_positions(args()) else {
        return Ok(());
    };
    let within: Vec<usize> = (0..words.len()).filter(|&i| found.contains(i)).collect();
    prop_assert_eq!(
        found.count(),
        within.len(),
        "{}: all positions are within the call, none twice",
        spec.name
    );
    prop_assert_eq!(
        found.first(),
        within.first().copied(),
        "{}: the first comes first",
        spec.name
    );
    prop_assert!(!found.contains(0), "{}: a name is no key", spec.name);
    prop_assert!(!found.contains(usize::MAX));
    let picked: Vec<&[u8]> = found.pick(args()).collect();
    let expected: Vec<&[u8]> = within.iter().map(|&i| &*words[i]).collect();
    prop_assert_eq!(picked, expected, "{}", spec.name);
    Ok(())
}

proptest! {
    #[test]
    fn the_keys_of_any_call_are_words_of_it(name in any_name(), rest in vec(any_word(), 0..12)) {
        let words = [name, rest].concat();
        let args = || words.iter().map(Vec::as_slice);
        let _ = (block(args()), state(args()), is_read_only(args()));
        if let Some(spec) = Spec::find(args()) {
            check(spec, &words)?;
        }
    }
}

proptest! {
    // Each case is some hundred: one for every command of the table.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(16)))]

    /// Also of words that do not call the command: nothing rests on the name having been looked up.
    #[test]
    fn no_command_panics_at_any_words(words in vec(any_word(), 0..12)) {
        for spec in TABLE {
            check(spec, &words)?;
        }
    }
}

/// Inputs that are worth keeping, whatever the generator makes of them.
#[test]
fn the_corpus_holds() {
    for line in [
        "EVAL s 18446744073709551615 k",
        "EVAL s +1 k",
        "XREAD STREAMS",
        "XREAD STREAMS STREAMS STREAMS",
        "XREADGROUP GROUP STREAMS STREAMS a",
        "MIGRATE h 1  0 10 KEYS",
        "MIGRATE h 1 k 0 10 KEYS",
        "SORT k STORE STORE",
        "SORT k STORE",
        "GEORADIUS k 1 1 1 km STORE STOREDIST STORE STORE",
        "MSET a",
        "MSET a b c",
        "ZUNIONSTORE d 0",
        "LMPOP 1",
        "CLIENT",
        "BLPOP a",
    ] {
        let words: Vec<Vec<u8>> = line.split(' ').map(Into::into).collect();
        let spec = Spec::find(words.iter().map(Vec::as_slice)).expect(line);
        check(spec, &words).expect(line);
    }
}
