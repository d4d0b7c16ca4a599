//! What a process does: it writes, reads, prepares nodes, looks, and enters late what it could not enter in time.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::judge::Reader;
use super::world::{Command, Failure, Key, Late, NODES, Reply, Up, Version, World, candidates};
use crate::recovery::names::Set;
use crate::recovery::owed::{Owed, owed};
use crate::recovery::sweep::{Ask, Said, Sweep};

pub(super) type Shared = Rc<RefCell<World>>;
pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Keys that are picked at once.
const PICKED: usize = 2;

struct Call {
    world: Shared,
    waiter: usize,
    is_done: bool,
}

impl Future for Call {
    type Output = Result<Vec<Reply>, Failure>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.world.borrow().waiters[self.waiter].result.clone();
        self.is_done = result.is_some();
        result.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_done {
            self.world.borrow_mut().give_up(self.waiter);
        }
    }
}

fn call(world: &Shared, process: usize, node: usize, commands: Vec<Command>) -> Call {
    let waiter = world.borrow_mut().send(process, node, commands, 0, vec![]);
    Call {
        world: Rc::clone(world),
        waiter,
        is_done: false,
    }
}

/// Commands of which none may be refused; the last one's reply. The node that failed.
async fn ask(
    world: &Shared,
    process: usize,
    node: usize,
    commands: Vec<Command>,
) -> Result<Reply, usize> {
    let replies = call(world, process, node, commands)
        .await
        .map_err(|_| node)?;
    replies.last().cloned().ok_or(node)
}

struct Sleep {
    world: Shared,
    until: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.world.borrow().now >= self.until {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

fn sleep(world: &Shared, steps: u64) -> Sleep {
    let until = world.borrow().now + steps;
    Sleep {
        world: Rc::clone(world),
        until,
    }
}

/// A call at the node failed: it is put out now and then, and mostly when it is really gone.
fn failed(world: &Shared, process: usize, node: usize) {
    let mut world = world.borrow_mut();
    let is_gone = world.servers[node].up != Up::Runs || !world.processes[process].reaches[node];
    let drawn = world.draw(10);
    if world.processes[process].uses(node) && (drawn < 7 || is_gone && drawn < 9) {
        world.say(|| format!("process {process} puts {node} out"));
        let losses = [0, 1, 2].map(|n| world.servers[n].losses);
        let it = &mut world.processes[process];
        it.serves[node] = false;
        it.left[node] = false;
        it.unlooked[node] = false;
        it.losses[node] = losses;
        if let Some(connection) = it.connections[node] {
            world.cut(connection);
        }
    }
}

/// What lies at `at` for `node` is worked off; the node that failed.
async fn sweep_one(world: &Shared, process: usize, at: usize, node: usize) -> Result<(), usize> {
    let rules = world.borrow().rules;
    let fresh = match rules.closed_names_are_used_again {
        true => 1,
        false => {
            let mut world = world.borrow_mut();
            world.next_set += 1;
            world.next_set
        }
    };
    // Where a rule is dropped, the set that is called `fresh` is still the open one.
    let named = |id: u64| match rules.the_open_set_is_worked_off && id == fresh {
        true => Set::Open,
        false => Set::Closed(id),
    };
    let mut first = Vec::new();
    let mut sweep = Sweep::<Key>::new(fresh);
    let mut asked = Ask::Index;
    loop {
        let said = match asked {
            Ask::Index if !first.is_empty() && rules.the_index_is_read_once => {
                Said::Index(first.clone())
            }
            Ask::Index => {
                let Reply::Sets(all) = ask(world, process, at, vec![Command::ReadIndex]).await?
                else {
                    return Err(at);
                };
                let of_it = all.into_iter().filter(|(of, _)| *of == node);
                let mut sets: Vec<Set> = of_it.map(|(_, set)| set).collect();
                if rules.the_open_set_is_worked_off && sets.contains(&Set::Open) {
                    sets.push(Set::Closed(fresh));
                }
                first.clone_from(&sets);
                if sets.contains(&Set::Open) {
                    first.push(Set::Closed(fresh));
                }
                Said::Index(sets)
            }
            Ask::Close(_) if rules.the_open_set_is_worked_off => Said::Done,
            Ask::Close(id) => {
                ask(world, process, at, vec![Command::Close(node, id)]).await?;
                if rules.an_open_set_leaves_the_index {
                    ask(world, process, at, vec![Command::Forget(node, Set::Open)]).await?;
                }
                Said::Done
            }
            Ask::Pick(id) => {
                let pick = Command::Pick(node, named(id));
                let Reply::Keys(mut keys) = ask(world, process, at, vec![pick]).await? else {
                    return Err(at);
                };
                keys.truncate(PICKED);
                if rules.an_entry_goes_before_its_key && !keys.is_empty() {
                    let remove = Command::Remove(node, named(id), keys.clone());
                    ask(world, process, at, vec![remove]).await?;
                }
                Said::Keys(keys)
            }
            Ask::Unlink(keys) => {
                ask(world, process, node, vec![Command::Unlink(keys)]).await?;
                Said::Done
            }
            Ask::Settle(id, keys) => {
                let copies: Vec<Key> = {
                    let world = world.borrow();
                    let is_copy = |key: &Key| !world.is_regular(process, *key, at);
                    keys.iter().copied().filter(is_copy).collect()
                };
                let mut both = Vec::new();
                if !copies.is_empty() && !rules.copies_stay {
                    both.push(Command::Unlink(copies));
                }
                both.push(Command::Remove(node, named(id), keys));
                ask(world, process, at, both).await?;
                Said::Done
            }
            Ask::Forget(set) => {
                if set != Set::Closed(fresh) || !rules.the_open_set_is_worked_off {
                    ask(world, process, at, vec![Command::Forget(node, set)]).await?;
                }
                Said::Done
            }
        };
        match sweep.next(said) {
            Some(next) => asked = next,
            None => break,
        }
    }
    if sweep.is_full() {
        // The copies there are noted no more than what was owed.
        let mut world = world.borrow_mut();
        let now = world.now;
        world.judge.unknown[node] = now;
        world.judge.unknown[at] = now;
    }
    Ok(())
}

/// What lies for `node` with all that serve is worked off; the node that failed.
async fn sweep(world: &Shared, process: usize, node: usize) -> Result<(), usize> {
    for at in (0..NODES).filter(|at| *at != node) {
        {
            let mut world = world.borrow_mut();
            let it = &mut world.processes[process];
            if !it.uses(at) {
                let is_back = it.unlooked[node] && it.serves[node];
                it.unread[node][at] |= is_back && it.knows(at);
                continue;
            }
        }
        let began = world.borrow().now;
        sweep_one(world, process, at, node).await?;
        let mut world = world.borrow_mut();
        world.processes[process].swept[node][at] = began;
        world.processes[process].unread[node][at] = false;
    }
    Ok(())
}

/// Makes a node ready that has answered its probes, and publishes it.
pub(super) async fn prepare(world: Shared, process: usize, node: usize) {
    let done = make_ready(&world, process, node).await;
    world.borrow_mut().processes[process].sweeps[node] = false;
    if let Err(at) = done {
        world.borrow_mut().processes[process].prepares[node] = false;
        if at != node {
            failed(&world, process, at);
        }
        return;
    }
    let mut world = world.borrow_mut();
    let now = world.now;
    let losses = [0, 1, 2].map(|n| world.servers[n].losses);
    let it = &mut world.processes[process];
    it.prepares[node] = false;
    let has_work_left = it.left[node] || it.late[node] > 0;
    if std::mem::take(&mut it.left[node]) || has_work_left {
        return;
    }
    let known = it.set;
    let mut is_unknown = false;
    for at in (0..NODES).filter(|at| *at != node && known & (1 << *at) != 0) {
        is_unknown |= losses[at] != it.losses[node][at] || !it.serves[at];
        it.unread[node][at] |= !it.serves[at];
    }
    it.serves[node] = true;
    it.published[node] = now;
    it.unlooked[node] = true;
    world.say(|| format!("process {process} publishes {node}"));
    if is_unknown {
        world.judge.unknown[node] = now;
    }
}

async fn make_ready(world: &Shared, process: usize, node: usize) -> Result<(), usize> {
    let rules = world.borrow().rules;
    if !rules.old_connections_live_on {
        ask(world, process, node, vec![Command::Kill(process)]).await?;
    }
    ask(world, process, node, vec![Command::Info]).await?;
    let is_rolled_back = {
        let world = world.borrow();
        let server = &world.servers[node];
        let before = world.processes[process].losses[node][node];
        server.keeps == super::world::Keeps::LastSave && server.losses != before
    };
    let flushes = is_rolled_back && world.borrow().weather.flushes;
    if is_rolled_back && !flushes {
        let mut world = world.borrow_mut();
        world.judge.unknown[node] = world.now;
    }
    world.borrow_mut().processes[process].sweeps[node] = true;
    if rules.a_node_is_published_unprepared {
        return Ok(());
    }
    sweep(world, process, node).await?;
    // What it holds for others that serve by now.
    for other in (0..NODES).filter(|other| *other != node) {
        if world.borrow().processes[process].uses(other) {
            let began = world.borrow().now;
            sweep_one(world, process, node, other).await?;
            let mut world = world.borrow_mut();
            world.processes[process].swept[other][node] = began;
            world.processes[process].unread[other][node] = false;
        }
    }
    // Behind that: what it held for others goes with it.
    if flushes {
        ask(world, process, node, vec![Command::Flush]).await?;
        let mut world = world.borrow_mut();
        let losses = world.servers[node].losses;
        world.processes[process].losses[node][node] = losses;
    }
    Ok(())
}

/// Looks again and again at what lies with all nodes that serve for all that do.
pub(super) async fn look(world: Shared, process: usize) {
    let rules = world.borrow().rules;
    let mut is_first = true;
    loop {
        let is_off = rules.nobody_looks || rules.one_look_is_enough && !is_first;
        let is_off = is_off || rules.a_new_process_does_not_look && is_first;
        for node in 0..NODES {
            let has_work = {
                let mut world = world.borrow_mut();
                let it = &mut world.processes[process];
                if it.uses(node) {
                    it.unlooked[node] |= std::mem::take(&mut it.left[node]);
                    if is_off {
                        it.unlooked[node] = false;
                    }
                }
                it.uses(node) && !is_off
            };
            if has_work {
                match sweep(&world, process, node).await {
                    Ok(()) => world.borrow_mut().processes[process].unlooked[node] = false,
                    Err(at) => failed(&world, process, at),
                }
            }
        }
        is_first = false;
        let pause = world.borrow().rules.look_every;
        sleep(&world, pause).await;
    }
}

/// Enters what could not be entered with its write: there, or at the next node that takes it.
pub(super) async fn enter_late(world: Shared, late: Late) {
    let Late {
        process,
        node,
        owes,
        version,
        ..
    } = late;
    let mut is_done = false;
    for step in 0..NODES {
        let at = (node + step) % NODES;
        let is_owed = owes.iter().any(|(to, _)| *to == at);
        if is_owed || step > 0 && !world.borrow().processes[process].uses(at) {
            continue;
        }
        let both = |(to, key): &(usize, Key)| [Command::Index(*to), Command::Owe(*to, *key)];
        let mut entry: Vec<Command> = owes.iter().flat_map(both).collect();
        // What it was given may lie there all the same.
        let owes_it = step > 0
            && !world
                .borrow()
                .rules
                .entered_elsewhere_the_stand_in_is_owed_nothing;
        for (_, key) in owes.iter().filter(|_| owes_it) {
            entry.extend(both(&(node, *key)));
        }
        match call(&world, process, at, entry).await {
            Ok(replies) if !replies.contains(&Reply::Refused) => {
                is_done = true;
                let it = &mut world.borrow_mut().processes[process];
                it.left[node] |= owes_it && it.uses(node);
                break;
            }
            Ok(_) => {}
            Err(_) => failed(&world, process, at),
        }
    }
    let mut world = world.borrow_mut();
    let now = world.now;
    world.judge.noted(version.filter(|_| is_done), node);
    for (to, _) in owes {
        let it = &mut world.processes[process];
        it.late[to] -= 1;
        it.left[to] |= it.uses(to);
        if !is_done {
            world.judge.unknown[to] = now;
            world.judge.unknown[node] = now;
        }
    }
}

/// A write under way, and to whom it is owed.
struct Pending {
    world: Shared,
    process: usize,
    life: u32,
    version: Version,
    owed: BTreeSet<usize>,
}

impl Pending {
    fn owes(&mut self, nodes: &[usize]) {
        let mut world = self.world.borrow_mut();
        for node in nodes {
            if self.owed.insert(*node) {
                world.processes[self.process].pending[*node] += 1;
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        let now = world.now;
        world.judge.ends(self.version, now);
        let it = &mut world.processes[self.process];
        if it.life == self.life {
            for node in &self.owed {
                it.pending[*node] -= 1;
                it.left[*node] |= it.uses(*node);
            }
        }
    }
}

fn to_whom(
    world: &World,
    process: usize,
    key: Key,
    at: usize,
    bad: &BTreeSet<usize>,
) -> Vec<usize> {
    let it = &world.processes[process];
    let order = candidates(key, it.set);
    let owner = order.first().copied();
    let is_bad = |n: usize| bad.contains(&n) && !world.rules.a_failure_in_the_call_owes_nothing;
    let has_it = |n: usize| n == at || (it.serves[n] && !is_bad(n));
    let mut nodes = Vec::new();
    owed(order, world.weather.copies, has_it, |owed| {
        nodes.extend(match owed {
            Owed::To(node) => Some(node),
            Owed::Beyond(_) => None,
        });
    });
    if world.rules.only_the_owner_is_owed {
        nodes.retain(|node| Some(*node) == owner);
    }
    nodes
}

/// Sends a write with what it owes, in one piece unless a rule is dropped.
fn send_write(
    world: &Shared,
    process: usize,
    at: usize,
    key: Key,
    version: Version,
    deletes: bool,
    owes: &[usize],
) -> Vec<Call> {
    let mut inner = world.borrow_mut();
    let rules = inner.rules;
    let told = inner.processes[process].connections[at].map(|c| inner.connections[c].told.clone());
    let told = told.unwrap_or_default();
    let news = owes
        .iter()
        .filter(|to| !told.contains(to))
        .map(|to| Command::Index(*to));
    let news: Vec<Command> = news.filter(|_| !rules.there_is_no_index).collect();
    let own = match deletes {
        true => Command::Del(key),
        false => Command::Set(key, version),
    };
    let is_forgotten = rules.deletes_owe_nothing && deletes;
    let entries: Vec<Command> = match is_forgotten {
        true => Vec::new(),
        false => owes.iter().map(|to| Command::Owe(*to, key)).collect(),
    };
    let owes: Vec<(usize, Key)> = match is_forgotten {
        true => Vec::new(),
        false => owes.iter().map(|to| (*to, key)).collect(),
    };
    let mut send = |commands: Vec<Command>, own: usize, owes: Vec<(usize, Key)>| {
        let waiter = inner.send(process, at, commands, own, owes);
        inner.carries(waiter, version);
        Call {
            waiter,
            world: Rc::clone(world),
            is_done: false,
        }
    };
    if rules.the_entry_is_a_call_of_its_own && !entries.is_empty() {
        let first = send(vec![own], 0, owes);
        let second = send([news, entries].concat(), 0, vec![]);
        return vec![first, second];
    }
    if rules.the_entry_goes_in_front {
        let front = [news, entries].concat();
        let at = front.len();
        return vec![send([front, vec![own]].concat(), at, owes)];
    }
    vec![send([vec![own], news, entries].concat(), 0, owes)]
}

pub(super) async fn write(world: Shared, process: usize, key: Key, deletes: bool) {
    let (version, life, rules, order, copies, again) = {
        let mut inner = world.borrow_mut();
        let it = inner.processes[process].clone();
        let now = inner.now;
        let version = inner.judge.begins(key, (process, it.life), now, it.swept);
        let order = candidates(key, it.set)
            .into_iter()
            .filter(|n| it.serves[*n]);
        let order: Vec<usize> = order.collect();
        let again = inner.draw(3) > 0;
        (
            version,
            it.life,
            inner.rules,
            order,
            inner.weather.copies,
            again,
        )
    };
    let mut pending = Pending {
        world: Rc::clone(&world),
        process,
        life,
        version,
        owed: BTreeSet::new(),
    };
    let (mut bad, mut done): (BTreeSet<usize>, Vec<usize>) = Default::default();
    let mut round: Vec<usize> = order.iter().copied().take(copies).collect();
    let mut next = copies;
    loop {
        let mut calls = Vec::new();
        for at in &round {
            let owes = to_whom(&world.borrow(), process, key, *at, &bad);
            pending.owes(&owes);
            calls.push((
                *at,
                send_write(&world, process, *at, key, version, deletes, &owes),
            ));
        }
        let mut is_unsure = false;
        for (at, all) in calls {
            let own = world.borrow().waiters[all[0].waiter].own;
            let mut results = Vec::new();
            for call in all {
                results.push(call.await);
            }
            match &results[0] {
                Ok(replies) if replies[own] != Reply::Refused => done.push(at),
                Ok(_) if copies > 1 => drop(bad.insert(at)),
                Ok(_) => {}
                Err(failure) => {
                    is_unsure |= *failure == Failure::MaybeExecuted;
                    bad.insert(at);
                    failed(&world, process, at);
                }
            }
        }
        let is_over = copies > 1 || next >= order.len() || (is_unsure && !again);
        if !done.is_empty() || is_over || bad.is_empty() {
            break;
        }
        round = vec![order[next]];
        next += 1;
    }
    if done.is_empty() {
        return;
    }
    // A replica's failure is known late: it is entered where the write is, before its result is given.
    let news = bad.iter().copied().filter(|n| !pending.owed.contains(n));
    let news: Vec<usize> = news
        .filter(|_| !rules.a_failure_in_the_call_owes_nothing)
        .collect();
    if copies > 1 && !news.is_empty() {
        pending.owes(&news);
        let both = |to: &usize| [Command::Index(*to), Command::Owe(*to, key)];
        let entry = news.iter().flat_map(both).collect();
        let result = call(&world, process, done[0], entry).await;
        if !matches!(&result, Ok(replies) if !replies.contains(&Reply::Refused)) {
            let late = Late {
                process,
                life,
                node: done[0],
                owes: news.iter().map(|to| (*to, key)).collect(),
                version: Some(version),
            };
            world.borrow_mut().enter_late(late);
        }
    }
    // Whoever is back meanwhile, or about to be, does not serve what was before this write.
    for to in pending.owed.clone() {
        let is_back = {
            let it = &world.borrow().processes[process];
            it.uses(to) || it.sweeps[to]
        };
        let unlink = vec![Command::Unlink(vec![key])];
        if is_back
            && !rules.a_write_leaves_those_that_came_back
            && call(&world, process, to, unlink).await.is_err()
        {
            failed(&world, process, to);
            world.borrow_mut().processes[process].left[to] = true;
        }
    }
    let owed: Vec<usize> = pending.owed.iter().copied().collect();
    let mut world = world.borrow_mut();
    let now = world.now;
    world.say(|| {
        format!("process {process}: write {version} of {key} is done at {done:?}, owed to {owed:?}")
    });
    world.judge.acked(version, now, done, owed);
    debug_assert!(world.judge.is_acked(version));
}

pub(super) async fn read(world: Shared, process: usize, key: Key) {
    let (reader, order) = {
        let world = world.borrow();
        let it = &world.processes[process];
        let settled = world.judge.settled;
        let order = candidates(key, it.set)
            .into_iter()
            .filter(|n| it.serves[*n]);
        let reader = Reader {
            process,
            key,
            begin: world.now,
            swept: it.swept,
            steady: [0, 1, 2].map(|n| it.published[n] <= settled[n]),
        };
        (reader, order.collect::<Vec<_>>())
    };
    for node in order {
        match call(&world, process, node, vec![Command::Get(key)]).await {
            Ok(replies) => {
                if let Some(Reply::Value(value)) = replies.first() {
                    world.borrow_mut().judge(&reader, node, *value);
                }
                return;
            }
            Err(_) => failed(&world, process, node),
        }
    }
}
