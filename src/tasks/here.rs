//! Which runtime polls the caller.

use std::cell::Cell;
use std::hash::{Hash as _, Hasher};

use tokio::runtime::{self, Handle};
use tokio::task;

/// So many tasks are remembered by each thread.
const KNOWN: usize = 256;

thread_local! {
    /// The runtimes of the tasks that this thread met last.
    static MET: [Cell<Option<(task::Id, runtime::Id)>>; KNOWN] = const { [const { Cell::new(None) }; KNOWN] };
}

/// The runtime that polls whoever asks; `None` outside of any.
///
/// Tokio tells it by a handle, whose count all threads of a runtime share: two writes to their busiest line for each
/// call. But a task stays in its runtime, and its number is never another's; so each thread remembers some.
///
/// (A `LocalSet` that one runtime after the other polls is taken for the first one's: whoever needs a runtime for more
/// than its name has to ask for its handle.)
pub(crate) fn runtime_here() -> Option<runtime::Id> {
    let Some(task) = task::try_id() else {
        return ask();
    };
    let known = MET.try_with(|met| {
        let slot = &met[place(task)];
        match slot.get() {
            Some((known, runtime)) if known == task => Some(runtime),
            _ => {
                let runtime = ask()?;
                slot.set(Some((task, runtime)));
                Some(runtime)
            }
        }
    });
    // A thread that ends has no memory.
    known.unwrap_or_else(|_| ask())
}

fn ask() -> Option<runtime::Id> {
    Handle::try_current().ok().map(|runtime| runtime.id())
}

/// Tasks that began one after the other have places side by side.
fn place(task: task::Id) -> usize {
    let mut number = Number(0);
    task.hash(&mut number);
    number.0 as usize % KNOWN
}

/// The number itself; there is no other way to it.
struct Number(u64);

impl Hasher for Number {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone() -> runtime::Runtime {
        let built = runtime::Builder::new_current_thread().build();
        built.expect("a runtime")
    }

    #[test]
    fn each_task_is_told_its_own_runtime_on_one_thread() {
        assert_eq!(runtime_here(), None, "there is none");
        let runtimes = [alone(), alone()];
        let ids = runtimes.each_ref().map(|runtime| runtime.handle().id());
        // More than are remembered, again and again, in turn.
        for _ in 0..3 {
            for (runtime, id) in runtimes.iter().zip(ids) {
                runtime.block_on(async {
                    assert_eq!(runtime_here(), Some(id), "without a task");
                    let tasks = (0..KNOWN + 10).map(|_| {
                        tokio::spawn(async move {
                            for _ in 0..3 {
                                assert_eq!(runtime_here(), Some(id));
                                task::yield_now().await;
                            }
                        })
                    });
                    for task in tasks.collect::<Vec<_>>() {
                        task.await.expect("the right one");
                    }
                });
            }
        }
        assert_eq!(runtime_here(), None, "and none again");
    }
}
