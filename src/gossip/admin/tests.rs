//! Who answers what, and how often, whoever passes questions on.

use std::net::Ipv4Addr;

use tokio::net::UdpSocket as Socket;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::*;
use crate::gossip::frame::{Frame, Kind, LARGEST, Seal};
use crate::gossip::identity::{Id, NOWHERE};
use crate::gossip::{Gossip, GossipErrorKind, Keyring, Operator, Phase};

const LONG: Duration = Duration::from_secs(20);

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn an_address_is_ours_when_we_tell_it_or_are_bound_to_it_or_to_all_of_this_machine() {
    let far = addr("10.9.9.9:5");
    let here = addr("127.0.0.1:5");
    let ours = |asked: &str, from, bound: &str| {
        let is_local = |ip: IpAddr| ip == addr("10.0.0.1:1").ip();
        is_ours(
            addr(asked),
            from,
            addr("10.0.0.1:7946"),
            addr(bound),
            is_local,
        )
    };
    for bound in ["0.0.0.0:7946", "10.0.0.1:7946", "[::]:7946"] {
        assert!(ours("10.0.0.1:7946", far, bound), "{bound}");
        assert!(ours("[::ffff:10.0.0.1]:7946", far, bound), "{bound}");
        assert!(!ours("10.0.0.2:7946", far, bound), "another one's, {bound}");
        assert!(!ours("10.0.0.1:7947", far, bound), "a neighbour's, {bound}");
    }
    // Ports are mapped: what we tell is not what we are bound to.
    assert!(ours("172.17.0.2:1946", far, "172.17.0.2:1946"));
    assert!(ours("10.0.0.1:1946", far, "0.0.0.0:1946"), "an interface's");
    // Every machine has a loopback: only our own reaches us from there.
    for asked in ["127.0.0.1:7946", "0.0.0.0:7946"] {
        assert!(ours(asked, here, "0.0.0.0:7946"), "{asked}");
        assert!(!ours(asked, far, "0.0.0.0:7946"), "{asked}");
        assert!(!ours(asked, here, "10.0.0.1:7946"), "{asked}");
    }
    assert!(ours("[::1]:7946", addr("[::1]:5"), "[::]:7946"));
    assert!(is_local(Ipv4Addr::LOCALHOST.into()) && !is_local(addr("192.0.2.1:1").ip()));
}

#[test]
fn a_question_is_new_once_however_many_others_come_and_its_memory_is_bounded() {
    let wall = 1_800_000_000_000;
    let mut seen = Seen::default();
    for at in [wall - FRESH, wall, wall + FRESH] {
        assert!(seen.is_new(at, 1, wall), "{at}");
        seen.keep(at, 1, wall);
        assert!(!seen.is_new(at, 1, wall), "{at} again");
        assert!(seen.is_new(at, 2, wall), "{at}, another one");
    }
    assert!(!seen.is_new(wall - FRESH - 1, 3, wall) && !seen.is_new(wall + FRESH + 1, 3, wall));
    for n in 0..3 * MOST_SEEN as u64 {
        let at = wall - FRESH + n;
        if seen.is_new(at, 9, wall) {
            seen.keep(at, 9, wall);
        }
        assert!(!seen.is_new(at, 9, wall) && seen.known.len() <= MOST_SEEN);
    }
    assert!(!seen.is_new(wall - FRESH, 1, wall), "what was forgotten");
    assert!(
        !seen.is_new(wall - FRESH + 5, 10, wall),
        "older than what is known"
    );
    assert!(seen.is_new(wall + FRESH, 11, wall), "newer");
    // Those that are too old to be answered are not kept.
    seen.keep(wall + 9 * FRESH, 1, wall + 9 * FRESH);
    assert_eq!(seen.known.len(), 1);
}

/// Somebody who can write every frame that an operator can, and show it to anybody, and again.
struct Postman {
    seal: Seal,
    socket: Socket,
    ids: u64,
}

impl Postman {
    async fn new(key: &Keyring) -> Self {
        Self {
            seal: Seal::new("test", Some(key.clone())),
            socket: Socket::bind("127.0.0.1:0").await.expect("a socket"),
            ids: 0,
        }
    }

    fn letter(&mut self, to: SocketAddr, start: u64, ask: Ask) -> Vec<u8> {
        self.ids += 1;
        let question = Question {
            to,
            start,
            id: self.ids,
            at: wall(),
            ask,
        };
        let bytes = postcard::to_allocvec(&question).expect("a question");
        let nonce = chance().expect("chance");
        let sender = Id::new(NOWHERE, self.ids);
        let letter = self
            .seal
            .close(Kind::Admin, sender, self.ids, &bytes, &nonce);
        letter.expect("it fits")
    }

    async fn answer(&self) -> Answer {
        let mut buffer = [0; 2 * LARGEST];
        let received = timeout(LONG, self.socket.recv(&mut buffer)).await;
        let length = received.expect("an answer").expect("a socket");
        let frame = self.seal.open(&buffer[..length]).expect("ours");
        let (answer, _) = postcard::take_from_bytes(&frame.payload).expect("an answer");
        answer
    }

    /// What is said to these letters, at this door; they are read in order, so that what comes before the answer to a
    /// last question of ours is all.
    async fn answers(&mut self, door: SocketAddr, letters: &[&[u8]]) -> Vec<What> {
        let last = self.letter(door, 0, Ask::Start);
        for letter in letters.iter().copied().chain([&*last]) {
            self.socket.send_to(letter, door).await.expect("sent");
        }
        let mut all = Vec::new();
        loop {
            let answer = self.answer().await;
            if answer.id == self.ids {
                return all;
            }
            all.push(answer.what);
        }
    }

    async fn start(&mut self, door: SocketAddr) -> u64 {
        let letter = self.letter(door, 0, Ask::Start);
        match self.answers(door, &[&letter]).await[..] {
            [What::Start(start)] => start,
            ref other => panic!("{other:?}"),
        }
    }

    async fn ticket(&mut self, door: SocketAddr, start: u64) -> [u8; 16] {
        let letter = self.letter(door, start, Ask::Ticket);
        match self.answers(door, &[&letter]).await[..] {
            [What::Ticket(ticket)] => ticket,
            ref other => panic!("{other:?}"),
        }
    }
}

async fn instance(key: &Keyring, bind: SocketAddr) -> Gossip {
    let builder = Gossip::builder("test").keyring(key.clone()).bind(bind);
    builder.start().await.expect("it starts")
}

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn until_refused(gossip: &Gossip, n: u64) {
    // Numbers are told once a second.
    let told = async {
        while gossip.status().refused < n {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, told).await.expect("it is counted");
    assert_eq!(gossip.status().refused, n);
}

#[tokio::test]
async fn what_is_asked_of_one_instance_is_not_answered_by_another_nor_twice() {
    let key = Keyring::generate();
    let (a, c) = (instance(&key, any()).await, instance(&key, any()).await);
    let (at_a, at_c) = (a.whoami().address, c.whoami().address);
    let mut postman = Postman::new(&key).await;
    let (start_a, start_c) = (postman.start(at_a).await, postman.start(at_c).await);
    let ticket = postman.ticket(at_a, start_a).await;
    let asks = [
        Ask::Start,
        Ask::Status,
        Ask::Members(0),
        Ask::Ticket,
        Ask::Act(ticket, Act::Leave),
    ];
    for ask in asks {
        // Whoever knows the other's start, too.
        for start in [start_a, start_c] {
            let letter = postman.letter(at_a, start, ask.clone());
            assert_eq!(
                postman.answers(at_c, &[&letter, &letter]).await,
                [],
                "{ask:?}"
            );
        }
    }
    until_refused(&c, 20).await;
    for ask in [Ask::Start, Ask::Status, Ask::Members(0), Ask::Ticket] {
        let letter = postman.letter(at_a, start_a, ask.clone());
        let said = postman.answers(at_a, &[&letter, &letter]).await;
        assert_eq!(said.len(), 1, "{ask:?}");
        assert_eq!(postman.answers(at_a, &[&letter]).await, [], "{ask:?} later");
    }
    until_refused(&a, 8).await;
    assert!(!a.status().members.contains_key("left"));
    assert_ne!(c.whoami().phase, Phase::Leaving);
}

#[tokio::test]
async fn what_was_asked_of_an_earlier_start_is_not_answered_after_it() {
    let key = Keyring::generate();
    let mut postman = Postman::new(&key).await;
    let before = instance(&key, any()).await;
    let at = before.whoami().address;
    let start = postman.start(at).await;
    let ticket = postman.ticket(at, start).await;
    let asks = [
        Ask::Status,
        Ask::Members(0),
        Ask::Ticket,
        Ask::Act(ticket, Act::Leave),
    ];
    let letters: Vec<_> = asks
        .into_iter()
        .map(|ask| postman.letter(at, start, ask))
        .collect();
    drop(before);
    // The task that has the socket ends soon after.
    let again = async {
        loop {
            let builder = Gossip::builder("test").keyring(key.clone()).bind(at);
            match builder.start().await {
                Ok(gossip) => return gossip,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let after = timeout(LONG, again).await.expect("it starts again");
    let letters: Vec<_> = letters.iter().map(|letter| &letter[..]).collect();
    assert_eq!(postman.answers(at, &letters).await, []);
    until_refused(&after, 4).await;
    let later = postman.start(at).await;
    assert_ne!(later, start);
    let status = postman.letter(at, later, Ask::Status);
    assert_eq!(postman.answers(at, &[&status]).await.len(), 1);
}

#[tokio::test]
async fn an_act_that_is_said_again_is_done_once_and_answered_alike() {
    let key = Keyring::generate();
    let gossip = instance(&key, any()).await;
    let at = gossip.whoami().address;
    let mut postman = Postman::new(&key).await;
    let start = postman.start(at).await;
    for act in [Act::Drain(true), Act::Heal, Act::Drain(false), Act::Leave] {
        let ticket = postman.ticket(at, start).await;
        let letters = [act, act, Act::Forget(at), act]
            .map(|act| postman.letter(at, start, Ask::Act(ticket, act)));
        let letters: Vec<_> = letters.iter().map(|letter| &letter[..]).collect();
        let said = postman.answers(at, &letters).await;
        assert_eq!(said, [const { What::Done(true) }; 3], "{act:?}");
        let other = postman.ticket(at, start).await;
        let letter = postman.letter(at, start, Ask::Act(other, act));
        let anew = matches!(act, Act::Heal);
        assert_eq!(
            postman.answers(at, &[&letter]).await,
            [What::Done(anew)],
            "{act:?} by another ticket"
        );
    }
    let unknown = postman.letter(at, start, Ask::Act([7; 16], Act::Drain(true)));
    assert_eq!(postman.answers(at, &[&unknown]).await, []);
}

/// Passes datagrams on in both directions, and loses the first answer after the first act.
struct Way {
    at: SocketAddr,
    task: AbortHandle,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Way {
    async fn to(door: SocketAddr, key: &Keyring) -> Self {
        let seal = Seal::new("test", Some(key.clone()));
        let front = Socket::bind("127.0.0.1:0").await.expect("a socket");
        let back = Socket::bind("127.0.0.1:0").await.expect("a socket");
        let at = front.local_addr().expect("an address");
        let is_act = move |bytes: &[u8]| {
            let question = |frame: Frame| {
                let question = postcard::take_from_bytes::<Question>(&frame.payload);
                question.map(|(question, _)| question).ok()
            };
            let question = seal.open(bytes).ok().and_then(question);
            matches!(
                question,
                Some(Question {
                    ask: Ask::Act(..),
                    ..
                })
            )
        };
        let run = async move {
            let (mut asker, mut acts, mut buffer, mut other) = (None, 0, [0; 2_048], [0; 2_048]);
            loop {
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut buffer) => {
                        asker = Some(from);
                        acts += u32::from(is_act(&buffer[..length]));
                        let _ = back.send_to(&buffer[..length], door).await;
                    }
                    Ok(length) = back.recv(&mut other) => match (asker, acts) {
                        (Some(_), 1) => acts += 1,
                        (Some(asker), _) => drop(front.send_to(&other[..length], asker).await),
                        (None, _) => {}
                    }
                }
            }
        };
        let task = tokio::spawn(run).abort_handle();
        Self { at, task }
    }
}

#[tokio::test]
async fn an_instance_behind_a_mapped_port_answers_whoever_names_it_and_an_act_whose_answer_was_lost_says_what_it_did()
 {
    let key = Keyring::generate();
    let gossip = instance(&key, any()).await;
    let door = gossip.whoami().address;
    let way = Way::to(door, &key).await;
    let operator = Operator::new("test", Some(key.clone()));
    let error = operator
        .status(way.at)
        .await
        .expect_err("it is asked for another one");
    assert_eq!(error.kind(), GossipErrorKind::Timeout);
    assert!(error.to_string().contains("advertises another"), "{error}");
    until_refused(&gossip, 3).await;

    let operator = operator.known_as(way.at, door);
    assert_eq!(
        operator.status(way.at).await.expect("an answer").me.address,
        door
    );
    assert!(
        operator
            .act(way.at, Act::Drain(true))
            .await
            .expect("an answer"),
        "it began to drain"
    );
    assert!(
        !operator
            .act(way.at, Act::Drain(true))
            .await
            .expect("an answer"),
        "it does already"
    );
    drop(way);
}
