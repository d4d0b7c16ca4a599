//! What a server tells of the keys that were read from it.

use std::sync::Arc;

use redis::{PushInfo, PushKind, Value};

use crate::near::{Current, Registry};

/// More keys in one push than this: the server is taken to have forgotten all, which costs no walk.
const KEYS_AT_ONCE: usize = 1000;

/// Hears what the server tells, in the order of its answers.
pub(super) struct Ear {
    pub(super) current: Arc<Current>,
    pub(super) registry: Arc<Registry>,
    pub(super) told: metrics::Counter,
    pub(super) flushed: metrics::Counter,
}

impl Ear {
    pub(super) fn hear(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Disconnection => self.current.end(),
            PushKind::Invalidate => self.told(&push.data),
            // Nothing else was asked for, and nothing else matters.
            _ => {}
        }
    }

    fn told(&self, data: &[Value]) {
        match data {
            [Value::Array(keys)] if keys.len() <= KEYS_AT_ONCE => {
                self.told.increment(keys.len() as u64);
                self.current.heard();
                for key in keys {
                    let Value::BulkString(key) = key else {
                        return self.current.end();
                    };
                    self.registry.told(key);
                }
            }
            [Value::Nil | Value::Array(_)] => {
                self.flushed.increment(1);
                self.current.renew();
            }
            // Whatever it is, what it means for what was read is not known.
            _ => self.current.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::near::{Near, Store};

    fn ear() -> (Ear, Arc<Store>) {
        let registry = Arc::new(Registry::default());
        let store = Arc::new(Store::new(b"p:", Near::default()));
        registry.add(&store);
        let ear = Ear {
            current: Arc::new(Current::new()),
            registry,
            told: metrics::Counter::noop(),
            flushed: metrics::Counter::noop(),
        };
        (ear, store)
    }

    fn push(kind: PushKind, data: Vec<Value>) -> PushInfo {
        PushInfo { kind, data }
    }

    #[test]
    fn what_is_no_list_of_keys_ends_what_the_connection_proves() {
        let key = || Value::BulkString(b"p:k".to_vec());
        for data in [
            vec![],
            vec![Value::Int(1)],
            vec![key()],
            vec![Value::Array(vec![key(), Value::Nil])],
            vec![Value::Array(vec![key()]), Value::Nil],
        ] {
            let (ear, _store) = ear();
            ear.hear(&push(PushKind::Invalidate, data.clone()));
            assert_eq!(ear.current.epoch(), 0, "{data:?}");
        }
        let (ear, _store) = ear();
        let before = ear.current.epoch();
        ear.hear(&push(PushKind::Message, vec![Value::Int(1)]));
        assert_eq!(ear.current.epoch(), before, "not its matter");
    }

    #[test]
    fn a_flush_and_a_list_without_end_are_a_new_number_and_a_key_is_not() {
        let (ear, _store) = ear();
        let key = Value::BulkString(b"p:k".to_vec());
        let first = ear.current.epoch();
        let few = Value::Array(vec![key.clone(); KEYS_AT_ONCE]);
        ear.hear(&push(PushKind::Invalidate, vec![few]));
        assert_eq!(ear.current.epoch(), first);
        let many = Value::Array(vec![key; KEYS_AT_ONCE + 1]);
        ear.hear(&push(PushKind::Invalidate, vec![many]));
        let second = ear.current.epoch();
        assert!(second != first && second != 0);
        ear.hear(&push(PushKind::Invalidate, vec![Value::Nil]));
        assert!(![first, second, 0].contains(&ear.current.epoch()));
        ear.hear(&push(PushKind::Disconnection, vec![]));
        assert_eq!(ear.current.epoch(), 0);
    }
}
