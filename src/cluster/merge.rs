//! Many answers become one.

use redis::Value;

use crate::backend::answer::Answer;
use crate::command::{Gather, Scatter};
use crate::error::text::one_line;
use crate::error::{Error, ErrorKind, Outcome};

/// The result of one piece: its answer, which may be an error reply, and who gave it.
pub(crate) type Piece = Result<Answer, Error>;

/// The answer to a part of a cut command, one value per key.
pub(crate) fn apart(scatter: Scatter, keys: usize, value: Value, into: &mut Vec<Value>) {
    match (scatter, value) {
        (Scatter::Values { .. }, Value::Array(values)) if values.len() == keys => {
            into.extend(values);
        }
        // The number of all stands for the first, so that the sum is right.
        (Scatter::Count, Value::Int(n)) => {
            into.extend((0..keys).map(|i| Value::Int(if i == 0 { n } else { 0 })));
        }
        // `OK`, or an error reply, is said to each.
        (_, value) => into.extend(vec![value; keys]),
    }
}

/// The answer to a cut command: all of it, or the first failure.
pub(crate) fn together(
    words: &[&[u8]],
    scatter: Scatter,
    pieces: Vec<Piece>,
) -> Result<Value, Error> {
    if pieces.iter().any(failed) {
        return Err(incomplete(words, scatter, &pieces));
    }
    let values = pieces
        .into_iter()
        .filter_map(Result::ok)
        .map(|answer| answer.value);
    Ok(match scatter {
        Scatter::Values { .. } => Value::Array(values.collect()),
        Scatter::Pairs => Value::Okay,
        Scatter::Count => sum(values),
    })
}

fn failed(piece: &Piece) -> bool {
    match piece {
        Err(_) => true,
        Ok(answer) => answer.is_error(),
    }
}

fn sum(values: impl Iterator<Item = Value>) -> Value {
    Value::Int(values.map(number).fold(0, i64::saturating_add))
}

fn number(value: Value) -> i64 {
    match value {
        Value::Int(n) => n,
        _ => 0,
    }
}

/// The error of a cut command: the first failure, and which keys were done all the same.
fn incomplete(words: &[&[u8]], scatter: Scatter, pieces: &[Piece]) -> Error {
    const SHOWN: usize = 16;
    let mut done: Vec<String> = Vec::new();
    let mut bad = 0;
    let mut cause: Option<Error> = None;
    for (i, piece) in pieces.iter().enumerate() {
        if !failed(piece) {
            if done.len() < SHOWN {
                let key = words[1 + i * scatter.stride()];
                done.push(one_line(key));
            }
            continue;
        }
        bad += 1;
        if cause.is_none() {
            cause = match piece {
                Err(error) => Some(error.clone()),
                Ok(answer) => answer.error(),
            };
        }
    }
    let good = pieces.len() - bad;
    let listed = match done.join(", ") {
        _ if good == 0 => "none".into(),
        listed if good > done.len() => format!("{listed}, ..."),
        listed => listed,
    };
    let name = String::from_utf8_lossy(words[0]).to_uppercase();
    let what = format!(
        "{name}: {bad} of {} keys failed; done: {listed}",
        pieces.len()
    );
    match cause {
        Some(cause) => cause.wrap(&what),
        None => Error::new(ErrorKind::Server, Outcome::Answered, what),
    }
}

/// The answer to a command for all nodes. Unless `partial`, one failing node fails it.
pub(crate) fn gathered(gather: Gather, partial: bool, pieces: Vec<Piece>) -> Result<Value, Error> {
    let nodes = pieces.len();
    let mut good = Vec::with_capacity(nodes);
    let mut bad = None;
    for piece in pieces {
        let answer = piece.and_then(|answer| {
            let name = answer.node().map(ToString::to_string).unwrap_or_default();
            Ok((name, answer.parse()?))
        });
        match answer {
            Ok(answer) => good.push(answer),
            Err(error) if partial => bad = Some(error),
            Err(error) => {
                return Err(error.wrap(&format!(
                    "one of {nodes} nodes; the other {} were asked too",
                    nodes - 1
                )));
            }
        }
    }
    match bad {
        Some(error) if good.is_empty() => Err(error),
        _ => Ok(one_of(gather, good)),
    }
}

fn one_of(gather: Gather, answers: Vec<(String, Value)>) -> Value {
    let values = |answers: Vec<(String, Value)>| answers.into_iter().map(|(_, value)| value);
    match gather {
        Gather::Same | Gather::Any => values(answers).next().unwrap_or(Value::Nil),
        Gather::Sum => sum(values(answers)),
        Gather::Most => Value::Int(values(answers).map(number).max().unwrap_or(0)),
        Gather::SumByName => sum_by_name(values(answers)),
        Gather::Join => Value::Array(values(answers).flat_map(items).collect()),
        Gather::All => {
            let lists: Vec<Vec<Value>> = values(answers).map(items).collect();
            let shortest = lists.iter().map(Vec::len).min().unwrap_or(0);
            let all = |i: usize| {
                lists
                    .iter()
                    .all(|list| matches!(list[i], Value::Int(1) | Value::Boolean(true)))
            };
            Value::Array(
                (0..shortest)
                    .map(|i| Value::Int(i64::from(all(i))))
                    .collect(),
            )
        }
        Gather::ByNode => Value::Map(
            answers
                .into_iter()
                .map(|(name, value)| (Value::BulkString(name.into_bytes()), value))
                .collect(),
        ),
    }
}

/// Lists of names and numbers, those of the call in its order.
fn sum_by_name(answers: impl Iterator<Item = Value>) -> Value {
    let mut sums: Vec<(Value, i64)> = Vec::new();
    for answer in answers {
        let pairs = match answer {
            Value::Map(pairs) => pairs,
            other => {
                let mut items = items(other).into_iter();
                std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
            }
        };
        for (i, (name, number)) in pairs.into_iter().enumerate() {
            let Value::Int(number) = number else {
                continue;
            };
            match sums.get_mut(i) {
                Some((other, sum)) if *other == name => *sum = sum.saturating_add(number),
                _ => sums.push((name, number)),
            }
        }
    }
    let pairs = sums.into_iter();
    Value::Array(pairs.flat_map(|(name, n)| [name, Value::Int(n)]).collect())
}

fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        other => vec![other],
    }
}
