//! Five processes, and a network between them that loses, doubles, delays and cuts.

use super::child::{Instance, Seeds, Told, agree};
use super::process::command;
use super::proxy::{Proxy, Weather};
use super::*;

const N: usize = 5;

struct World {
    proxy: Proxy,
    key: String,
    all: Vec<Instance>,
}

impl World {
    /// Five that agree, whatever the weather was meanwhile.
    async fn started(seed: u64, weather: Weather) -> Self {
        let proxy = Proxy::new(N, seed);
        proxy.set(weather);
        let mut world = Self {
            proxy,
            key: Keyring::generate().to_hex(),
            all: Vec::new(),
        };
        world.all = (0..N).map(|n| world.start(n)).collect();
        until("they join", || agree(&world.all, N)).await;
        world
    }

    fn start(&self, n: usize) -> Instance {
        let told = Told {
            bind: self.proxy.bind(n),
            advertise: self.proxy.advertise(n),
            // All of them, as a source would list them.
            seeds: Seeds::Fixed((0..N).map(|n| self.proxy.advertise(n)).collect()),
            id: format!("i{n}"),
            key: self.key.clone(),
            profile: Default::default(),
        };
        Instance::start(command(), &told)
    }

    fn seen(&self) -> Vec<usize> {
        self.all.iter().map(Instance::seen).collect()
    }

    /// Nobody of `of` saw somebody of `whom` down since then, not for a moment.
    fn nobody_was_down(&self, since: &[usize], of: &[usize], whom: &[usize]) {
        for n in of {
            let views = self.all[*n].since(since[*n]);
            for other in whom {
                let down = format!("i{other}=down");
                assert!(!views.contains(&down), "i{n} saw {down}:\n{views}");
            }
        }
    }

    /// Whether each of these sees exactly these alive.
    fn sees_alone(&self, these: &[usize]) -> bool {
        these.iter().all(|n| {
            let view = self.all[*n].view();
            (0..N).all(|m| view.contains(&format!("i{m}=alive")) == these.contains(&m))
        })
    }

    async fn whole_again(&self, since: &[usize]) -> Duration {
        let took = until("whole again", || agree(&self.all, N)).await;
        // It stays so.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(agree(&self.all, N), "{:?}", since);
        took
    }
}

const EVERYBODY: [usize; N] = [0, 1, 2, 3, 4];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fifth_of_all_datagrams_may_be_lost_and_nobody_is_given_up_who_lives() {
    let mut world = World::started(
        1,
        Weather {
            loss: 0.2,
            twice: 0.05,
            late: 60,
        },
    )
    .await;
    let since = world.seen();
    world.all[2].tell("drain on");
    until("all hear it", || {
        world.all.iter().all(|i| i.sees("i2=alive/draining"))
    })
    .await;
    world.all[2].tell("drain off");
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.nobody_was_down(&since, &EVERYBODY, &EVERYBODY);
    world.all.pop().unwrap().kill();
    let dead = until("the death is known", || {
        world.all.iter().all(|i| i.sees("i4=down"))
    })
    .await;
    world.nobody_was_down(&since, &[0, 1, 2, 3], &[0, 1, 2, 3]);
    let late = world.start(4);
    world.all.push(late);
    let back = until("it is back", || agree(&world.all, N)).await;
    let counts = world.proxy.counts();
    println!("{counts:?}, death {dead:?}, return {back:?}");
    let all = counts.passed + counts.lost;
    assert!(all > 500 && counts.cut == 0, "{counts:?}");
    assert!((all / 8..all / 3).contains(&counts.lost), "{counts:?}");
    assert!(
        counts.doubled > all / 50 && counts.overtaken > all / 100,
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_halves_live_on_by_themselves_and_are_one_again_after_the_cut() {
    let world = World::started(2, Weather::default()).await;
    let (one, other) = ([0, 1], [2, 3, 4]);
    let ring = world.all[0].view();
    let since = world.seen();
    world.proxy.cut(&one, &other);
    world.proxy.cut(&other, &one);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(world.sees_alone(&one) && world.sees_alone(&other));
    assert!(agree(&world.all[..2], 2) && agree(&world.all[2..], 3));
    // Afterwards each half hears from the other one that it is down, and says that it is not.
    world.nobody_was_down(&since, &one, &one);
    world.nobody_was_down(&since, &other, &other);
    world.proxy.heal();
    let took = world.whole_again(&since).await;
    assert_eq!(
        ring.split(' ').next(),
        world.all[4].view().split(' ').next(),
        "each has its keys again"
    );
    let counts = world.proxy.counts();
    println!("{counts:?}, whole after {took:?}");
    assert!(counts.cut > 50 && counts.lost == 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_that_is_cut_costs_nobody_while_others_can_ask() {
    let world = World::started(3, Weather::default()).await;
    let since = world.seen();
    world.proxy.cut(&[0], &[1]);
    world.proxy.cut(&[2], &[0]);
    tokio::time::sleep(Duration::from_secs(15)).await;
    world.nobody_was_down(&since, &EVERYBODY, &EVERYBODY);
    let counts = world.proxy.counts();
    assert!(counts.cut > 5, "{counts:?}");
    world.proxy.heal();
    world.whole_again(&since).await;
    world.nobody_was_down(&since, &EVERYBODY, &EVERYBODY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hears_nobody_or_is_heard_by_nobody_is_given_up_alone_and_comes_back() {
    let world = World::started(4, Weather::default()).await;
    let (deaf, rest) = (4, [0, 1, 2, 3]);
    for from_it in [false, true] {
        let since = world.seen();
        match from_it {
            false => world.proxy.cut(&rest, &[deaf]),
            true => world.proxy.cut(&[deaf], &rest),
        }
        until("it is given up", || {
            rest.iter().all(|n| world.all[*n].sees("i4=down"))
        })
        .await;
        // It is deaf, and so suspects all others, and says so: they object.
        until("the others go on", || agree(&world.all[..4], 4)).await;
        world.nobody_was_down(&since, &rest, &rest);
        world.proxy.heal();
        let took = world.whole_again(&since).await;
        println!("mute {from_it}: whole after {took:?}");
    }
}
