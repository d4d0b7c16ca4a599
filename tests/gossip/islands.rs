//! Instances in network namespaces, and links that go down.

use std::process::Command;

use super::child::{Instance, Seeds, Told, agree};
use super::process::aim;
use super::*;
use crate::support::{in_a_network, test_name};

#[test]
fn a_link_that_goes_down_parts_two_sites_and_they_are_one_again_when_it_is_up() {
    in_a_network(
        test_name!("a_link_that_goes_down_parts_two_sites_and_they_are_one_again_when_it_is_up"),
        async |net| {
            let islands = [net.island(), net.island()];
            net.routes_between_islands(&islands);
            let key = Keyring::generate().to_hex();
            let at = |n: usize| SocketAddr::from((islands[n / 3].address(), 7_946 + n as u16));
            let start = |n: usize| {
                let [program, namespace] = islands[n / 3].enter();
                let mut command = Command::new(program);
                command.arg(namespace).arg(std::env::current_exe().unwrap());
                let told = Told {
                    bind: at(n),
                    advertise: at(n),
                    seeds: Seeds::Fixed(vec![at(0), at(3)]),
                    id: format!("i{n}"),
                    key: key.clone(),
                    profile: Default::default(),
                };
                Instance::start(aim(command), &told)
            };
            let all: Vec<_> = (0..5).map(start).collect();
            until("they join", || agree(&all, 5)).await;
            let ring = all[0].view();
            let seen: Vec<_> = all.iter().map(Instance::seen).collect();

            net.link_is_up(&islands[1], false);
            let parted = until("each site sees itself", || {
                let far = |i: &Instance| i.sees("i3=down") && i.sees("i4=down");
                agree(&all[..3], 3) && agree(&all[3..], 2) && all[..3].iter().all(far)
            })
            .await;
            // Long enough for what may be kept of it in the kernel to be gone.
            tokio::time::sleep(Duration::from_secs(10)).await;
            for (n, instance) in all.iter().enumerate() {
                let views = instance.since(seen[n]);
                for m in (0..5).filter(|m| m / 3 == n / 3) {
                    assert!(!views.contains(&format!("i{m}=down")), "i{n}: {views}");
                }
            }
            net.link_is_up(&islands[1], true);
            let whole = until("whole again", || agree(&all, 5)).await;
            println!("parted after {parted:?}, whole after {whole:?}");
            assert_eq!(
                ring.split(' ').next(),
                all[4].view().split(' ').next(),
                "each has its keys again"
            );
        },
    );
}
