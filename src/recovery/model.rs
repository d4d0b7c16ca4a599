//! Servers with sockets, processes with their own view of them, and every command a step of its own.
//!
//! Any of them dies or stops at any step; connections are cut, calls dropped, replies lost, and what lies in a socket may
//! be executed long after its sender gave up. A read is **stale** when its value was replaced or deleted by a write that
//! was acknowledged before the read began, unless it is one of what `src/guide/returns.md` says is not promised; those are
//! counted apart, each with the longest time.
//!
//! `FLUSTER_SEEDS=3000 cargo test --release --all-features --lib recovery::model` runs as many as the rules were found
//! with; `FLUSTER_SEED=17` runs one.

mod judge;
mod process;
mod world;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

use self::judge::Tally;
use self::process::{Shared, Work, enter_late, look, prepare, read, write};
use self::world::{NODES, PROCESSES, Process, Up, World};

/// The rules that may be dropped. None is, by default.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) deletes_owe_nothing: bool,
    pub(super) only_the_owner_is_owed: bool,
    pub(super) a_failure_in_the_call_owes_nothing: bool,
    pub(super) the_entry_goes_in_front: bool,
    pub(super) the_entry_is_a_call_of_its_own: bool,
    pub(super) not_sent_is_judged_by_our_own: bool,
    pub(super) nothing_is_entered_late: bool,
    pub(super) entered_elsewhere_the_stand_in_is_owed_nothing: bool,
    pub(super) there_is_no_index: bool,
    pub(super) index_is_told_when_sent: bool,
    pub(super) an_open_set_leaves_the_index: bool,
    pub(super) the_open_set_is_worked_off: bool,
    pub(super) closed_names_are_used_again: bool,
    pub(super) the_index_is_read_once: bool,
    pub(super) an_entry_goes_before_its_key: bool,
    pub(super) copies_stay: bool,
    pub(super) a_node_is_published_unprepared: bool,
    pub(super) old_connections_live_on: bool,
    pub(super) a_write_leaves_those_that_came_back: bool,
    pub(super) nobody_looks: bool,
    pub(super) one_look_is_enough: bool,
    pub(super) a_new_process_does_not_look: bool,
    /// In steps.
    pub(super) look_every: u64,
}

impl Rules {
    const ALL: Self = Self {
        deletes_owe_nothing: false,
        only_the_owner_is_owed: false,
        a_failure_in_the_call_owes_nothing: false,
        the_entry_goes_in_front: false,
        the_entry_is_a_call_of_its_own: false,
        not_sent_is_judged_by_our_own: false,
        nothing_is_entered_late: false,
        entered_elsewhere_the_stand_in_is_owed_nothing: false,
        there_is_no_index: false,
        index_is_told_when_sent: false,
        an_open_set_leaves_the_index: false,
        the_open_set_is_worked_off: false,
        closed_names_are_used_again: false,
        the_index_is_read_once: false,
        an_entry_goes_before_its_key: false,
        copies_stay: false,
        a_node_is_published_unprepared: false,
        old_connections_live_on: false,
        a_write_leaves_those_that_came_back: false,
        nobody_looks: false,
        one_look_is_enough: false,
        a_new_process_does_not_look: false,
        look_every: 40,
    };
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) copies: usize,
    /// Several nodes may be out at once.
    pub(super) many: bool,
    /// Servers may return with their last save.
    pub(super) saves: bool,
    /// And are flushed then.
    pub(super) flushes: bool,
    /// Servers may refuse what needs memory.
    pub(super) full: bool,
    /// Processes die.
    pub(super) deaths: bool,
    /// A process may lose a node that others reach.
    pub(super) asymmetry: bool,
    /// Nodes are removed and added.
    pub(super) changes: bool,
    /// Servers drop values of their own accord.
    pub(super) evictions: bool,
    /// More keys are not noted for one node at one server.
    pub(super) limit: usize,
}

impl Weather {
    const ONE: Self = Self {
        copies: 1,
        many: false,
        saves: false,
        flushes: false,
        full: false,
        deaths: true,
        asymmetry: true,
        changes: false,
        evictions: false,
        limit: usize::MAX,
    };
    const TWO: Self = Self {
        copies: 2,
        ..Self::ONE
    };
}

const STEPS: u64 = 6000;

struct Task {
    process: usize,
    /// A caller may drop it.
    is_call: bool,
    work: Work,
}

/// One seed.
fn run(rules: Rules, weather: Weather, seed: u64) -> Tally {
    let world: Shared = Rc::new(RefCell::new(World::new(rules, weather, seed)));
    let mut tasks: Vec<Task> = Vec::new();
    let background = |process: usize, work: Work| Task {
        process,
        is_call: false,
        work,
    };
    for process in 0..PROCESSES {
        tasks.push(background(
            process,
            Box::pin(look(Rc::clone(&world), process)),
        ));
    }
    for _ in 0..STEPS {
        let drawn = {
            let mut world = world.borrow_mut();
            world.now += 1;
            let set = world.set;
            if world
                .processes
                .iter()
                .any(|it| it.is_alive && it.set != set)
            {
                world.changed_at = world.now;
            }
            for node in 0..NODES {
                if world.is_settled(node) {
                    world.judge.settled[node] = world.now;
                }
            }
            world.draw(100)
        };
        match drawn {
            0..=29 => world.borrow_mut().serve_one(),
            30..=44 => world.borrow_mut().flush_one(),
            45..=64 => world.borrow_mut().deliver_one(),
            65..=84 => (0..2).for_each(|_| poll_one(&world, &mut tasks)),
            85..=92 => tasks.extend(some_call(&world, &tasks)),
            93..=95 => world.borrow_mut().time_out_one(),
            96 => cut_one(&world),
            97 => drop_one(&world, &mut tasks),
            98 => faults(&world, &mut tasks),
            _ => tasks.extend(monitor(&world)),
        }
        let late: Vec<_> = world.borrow_mut().late.drain(..).collect();
        for late in late {
            let process = late.process;
            if world.borrow().processes[process].life == late.life {
                tasks.push(background(
                    process,
                    Box::pin(enter_late(Rc::clone(&world), late)),
                ));
            }
        }
    }
    tasks.clear();
    world.borrow().judge.tally.clone()
}

fn poll_one(world: &Shared, tasks: &mut Vec<Task>) {
    if tasks.is_empty() {
        return;
    }
    let at = world.borrow_mut().draw(tasks.len());
    let mut cx = Context::from_waker(Waker::noop());
    if tasks[at].work.as_mut().poll(&mut cx).is_ready() {
        drop(tasks.swap_remove(at));
    }
}

fn some_call(world: &Shared, tasks: &[Task]) -> Option<Task> {
    let mut inner = world.borrow_mut();
    let process = inner.draw(PROCESSES);
    let calls = tasks
        .iter()
        .filter(|task| task.process == process && task.is_call);
    if !inner.processes[process].is_alive || calls.count() >= 3 {
        return None;
    }
    let (key, kind) = (inner.draw(world::KEYS) as u8, inner.draw(10));
    let world = Rc::clone(world);
    let work: Work = match kind {
        0..=2 => Box::pin(write(world, process, key, false)),
        3 => Box::pin(write(world, process, key, true)),
        _ => Box::pin(read(world, process, key)),
    };
    Some(Task {
        process,
        is_call: true,
        work,
    })
}

fn cut_one(world: &Shared) {
    let mut world = world.borrow_mut();
    if world.draw(3) == 0 {
        let (process, node) = (world.draw(PROCESSES), world.draw(NODES));
        if let Some(connection) = world.processes[process].connections[node] {
            world.cut(connection);
        }
    }
}

fn drop_one(world: &Shared, tasks: &mut Vec<Task>) {
    let drawn = world.borrow_mut().draw(2);
    if drawn == 0 && !tasks.is_empty() {
        let at = world.borrow_mut().draw(tasks.len());
        if tasks[at].is_call {
            drop(tasks.swap_remove(at));
        }
    }
}

/// Somebody's node that is out has answered its probes: it is made ready.
fn monitor(world: &Shared) -> Option<Task> {
    let mut inner = world.borrow_mut();
    let (process, node) = (inner.draw(PROCESSES), inner.draw(NODES));
    let saved = inner.draw(NODES);
    if inner.draw(4) == 0 {
        inner.servers[saved].saved = inner.servers[saved].data.clone();
    }
    if inner.weather.evictions && inner.draw(4) == 0 {
        let (node, key) = (inner.draw(NODES), inner.draw(world::KEYS));
        inner.servers[node].data.values[key] = None;
    }
    let it = &mut inner.processes[process];
    if !it.is_alive || !it.knows(node) || it.serves[node] || it.prepares[node] {
        return None;
    }
    it.prepares[node] = true;
    Some(Task {
        process,
        is_call: false,
        work: Box::pin(prepare(Rc::clone(world), process, node)),
    })
}

/// Whatever was broken is mended when its time is over, and now and then something new breaks.
fn faults(world: &Shared, tasks: &mut Vec<Task>) {
    mend(world, tasks);
    let mut inner = world.borrow_mut();
    if inner.draw(4) > 0 {
        return;
    }
    let (weather, now) = (inner.weather, inner.now);
    let (node, kind, lasts) = (
        inner.draw(NODES),
        inner.draw(11),
        60 + inner.draw(500) as u64,
    );
    let is_quiet = |other: usize, it: &Process| {
        it.uses(other) && it.reaches[other] && it.pending[other] + it.late[other] == 0
    };
    let is_well = |other: usize| {
        let mut all = inner.processes.iter();
        inner.servers[other].up == Up::Runs
            && all.all(|it| !it.is_alive || (is_quiet(other, it) && !it.prepares[other]))
            && inner
                .processes
                .iter()
                .all(|it| !it.unlooked[other] && !it.left[other])
    };
    let may_break = weather.many || (0..NODES).all(|other| other == node || is_well(other));
    let process = inner.draw(PROCESSES);
    match kind {
        0..=2 if may_break && inner.servers[node].up == Up::Runs => {
            inner.servers[node].until = now + lasts;
            inner.kill_server(node);
        }
        3..=5 if may_break && inner.servers[node].up == Up::Runs => {
            inner.servers[node].until = now + lasts;
            inner.servers[node].up = Up::Stopped;
            inner.say(|| format!("node {node} stops"));
        }
        6 if weather.full && inner.servers[node].up == Up::Runs => {
            inner.servers[node].until = now + lasts / 2;
            inner.servers[node].is_full = true;
        }
        7 if weather.asymmetry && may_break => {
            let it = &mut inner.processes[process];
            if it.is_alive && it.reaches == [true; NODES] {
                it.reaches[node] = false;
                it.until = now + lasts;
            }
        }
        8 if weather.deaths => {
            let it = &inner.processes[process];
            if it.is_alive && it.reaches == [true; NODES] {
                drop(inner);
                die(world, tasks, process, now + lasts / 2);
            }
        }
        9 if weather.changes => {
            let without = world::ALL & !(1 << node);
            inner.set = match inner.set {
                world::ALL => without,
                _ => world::ALL,
            };
        }
        _ => {}
    }
}

fn die(world: &Shared, tasks: &mut Vec<Task>, process: usize, until: u64) {
    {
        let mut world = world.borrow_mut();
        let it = &mut world.processes[process];
        it.is_alive = false;
        it.life += 1;
        it.until = until;
        world.say(|| format!("process {process} dies"));
        world.cut_process(process);
    }
    // Its tasks may not look at the world while they are dropped and it is borrowed.
    tasks.retain(|task| task.process != process);
    let mut world = world.borrow_mut();
    let (life, set) = (world.processes[process].life, world.processes[process].set);
    world.processes[process] = Process {
        is_alive: false,
        life,
        until,
        set,
        ..Process::new(0)
    };
}

fn mend(world: &Shared, tasks: &mut Vec<Task>) {
    let mut inner = world.borrow_mut();
    let now = inner.now;
    for node in 0..NODES {
        let server = &mut inner.servers[node];
        if server.until >= now {
            continue;
        }
        server.is_full = false;
        match server.up {
            Up::Down => inner.start_server(node),
            Up::Stopped => server.up = Up::Runs,
            Up::Runs => {}
        }
    }
    let set = inner.set;
    for process in 0..PROCESSES {
        let late_to_hear = inner.draw(3) == 0;
        let it = &mut inner.processes[process];
        if it.until >= now {
            continue;
        }
        it.reaches = [true; NODES];
        if !it.is_alive {
            let (life, has_changed) = (it.life, it.set != set);
            *it = Process {
                life,
                set,
                ..Process::new(now)
            };
            tasks.push(Task {
                process,
                is_call: false,
                work: Box::pin(look(Rc::clone(world), process)),
            });
            if has_changed {
                inner.changed_at = now;
            }
        }
        let it = &mut inner.processes[process];
        if it.set != set && !late_to_hear {
            // What is added is made ready like one that was out.
            for node in (0..NODES).filter(|node| it.set & (1 << node) == 0) {
                it.serves[node] = false;
            }
            it.set = set;
            inner.changed_at = now;
        }
    }
}

/// So many seeds, or as the environment says.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match (number("FLUSTER_SEED"), number("FLUSTER_SEEDS")) {
        (Some(one), _) => one..one + 1,
        (None, Some(many)) => 0..many,
        (None, None) => 0..usual,
    }
}

fn tally(rules: Rules, weather: Weather, usual: u64) -> Tally {
    let mut all = Tally::default();
    for seed in seeds(usual) {
        all.add(seed, run(rules, weather, seed));
    }
    all
}

fn holds(weather: Weather, usual: u64) -> Tally {
    let all = tally(Rules::ALL, weather, usual);
    println!("{weather:?}: {all:?}");
    assert_eq!(all.stale, 0, "seeds {:?}: {:?}", all.seeds, all.first);
    assert!(all.reads > 0);
    all
}

mod dropped;

#[test]
fn with_one_node_out_at_a_time_nobody_reads_an_old_value() {
    holds(Weather::ONE, 10);
    holds(Weather::TWO, 10);
}

#[test]
fn with_several_nodes_out_at_once_nobody_reads_an_old_value_but_what_is_said() {
    for weather in [Weather::ONE, Weather::TWO] {
        holds(
            Weather {
                many: true,
                ..weather
            },
            5,
        );
    }
}

#[test]
fn a_full_server_and_more_keys_than_are_noted_are_said() {
    for weather in [Weather::ONE, Weather::TWO] {
        holds(
            Weather {
                full: true,
                ..weather
            },
            5,
        );
        let all = holds(
            Weather {
                limit: 1,
                ..weather
            },
            5,
        );
        assert!(all.unknown > 0, "{all:?}");
    }
}

#[test]
fn a_server_that_returns_with_its_last_save_is_said_or_flushed() {
    for weather in [Weather::ONE, Weather::TWO] {
        let saves = Weather {
            saves: true,
            ..weather
        };
        let all = holds(saves, 5);
        assert!(all.unknown > 0, "{all:?}");
        holds(
            Weather {
                flushes: true,
                ..saves
            },
            5,
        );
    }
}

#[test]
fn values_that_a_server_drops_are_misses() {
    for weather in [Weather::ONE, Weather::TWO] {
        holds(
            Weather {
                evictions: true,
                ..weather
            },
            5,
        );
    }
}

#[test]
fn a_set_of_nodes_that_changes_leaves_old_values_only_where_keys_have_moved() {
    let moved = [Weather::ONE, Weather::TWO].map(|weather| {
        let changes = Weather {
            changes: true,
            ..weather
        };
        holds(changes, 20).moved
    });
    assert!(moved.iter().sum::<u64>() > 0, "{moved:?}");
}
