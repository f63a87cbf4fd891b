//! Swaps under load: 200 connections, half of them in rooms, each with numbered messages in flight, and twenty swaps in a row. Whoever counts in
//! guest memory counts on, and nothing is lost, doubled or out of order.
//!
//! How long swaps took is printed, and never decides: `cargo test -p waterspout-tests --test stories under_load -- --nocapture`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use waterspout::{OnSwap, SwapReport};
use waterspout_tests::{Client, Guest, TestHost, within};

use super::{counter, room_version, version};

const CLIENTS: usize = 200;
const IN_FLIGHT: u64 = 8;
const SWAPS: u32 = 20;
const ROOMS: [&str; 5] = ["/rooms/red", "/rooms/green", "/rooms/blue", "/rooms/black", "/rooms/white"];
/// The second route's name, and its path.
const ROOMS_ROUTE: &str = "/rooms/{room}";

/// The version that serves after so many swaps: two take turns.
fn version_after(swaps: u32) -> u32 {
    1 + swaps % 2
}

/// Who talks all the time.
struct Talker {
    host: Arc<TestHost>,
    path: &'static str,
    /// The version that answered last.
    shows: watch::Sender<u32>,
    stop: Arc<AtomicBool>,
}

/// What a talker has seen.
#[derive(Debug, Default)]
struct Talked {
    answers: u64,
    /// How often it was closed for a swap.
    closed: u32,
    /// What its room had counted at each answer.
    room_counts: Vec<u64>,
}

/// `VERSION:COUNT:TEXT` or `VERSION:COUNT OF THE ROOM:COUNT:TEXT`, where all are numbers.
fn numbers(answer: &str) -> Vec<u64> {
    answer.split(':').map(|part| part.parse().unwrap_or_else(|_| panic!("{answer}"))).collect()
}

impl Talker {
    async fn connects(&self) -> Client {
        within("a place", async {
            loop {
                // A room that is ending says 503.
                match self.host.try_connect(self.path, &[]).await {
                    Ok(client) => return client,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await
    }

    /// Talks, several messages at a time, until it is told to stop: answers come in order, each once, and what the connection's handler counts has
    /// no gap. Who may be closed comes back.
    async fn talk(self, mut client: Client, may_be_closed: bool) -> Talked {
        let mut talked = Talked::default();
        loop {
            let (mut sent, mut answered) = (0, 0);
            loop {
                while !self.stop.load(Ordering::Relaxed) && sent < answered + IN_FLIGHT {
                    client.send_text(format!("{sent}")).await;
                    sent += 1;
                }
                if answered == sent {
                    client.leave().await;
                    return talked;
                }
                let answer = match client.recv().await {
                    Message::Text(answer) => answer,
                    Message::Close(Some(frame)) if may_be_closed => {
                        assert_eq!(u16::from(frame.code), 1012);
                        break;
                    }
                    other => panic!("{other}"),
                };
                let numbers = numbers(&answer);
                let [of, room @ .., count, number] = numbers.as_slice() else { panic!("{answer}") };
                assert_eq!((*count, *number), (answered + 1, answered), "{answer}");
                talked.room_counts.extend(room);
                talked.answers += 1;
                answered += 1;
                self.shows.send_replace(u32::try_from(*of).expect("a version"));
            }
            talked.closed += 1;
            // His room ends when he has gone.
            drop(client);
            client = self.connects().await;
        }
    }
}

/// Everybody who talks.
struct Crowd {
    host: Arc<TestHost>,
    on_swap: OnSwap,
    stop: Arc<AtomicBool>,
    shown: Vec<watch::Receiver<u32>>,
    talks: JoinSet<(&'static str, Talked)>,
}

/// What all have seen: of each room what it counted, in order; and of each talker.
struct Seen {
    rooms: BTreeMap<&'static str, Vec<u64>>,
    talked: Vec<Talked>,
}

impl Crowd {
    /// Half of them have an instance of their own, half are in rooms; all are answered by the first version.
    async fn gather(on_swap: OnSwap) -> Self {
        let host = counter()
            .route(|route| route.swap.spread = Duration::ZERO)
            .and_route(Guest::named("counter-room-1"), ROOMS_ROUTE)
            .instance("{room}")
            .route(|route| route.swap.spread = Duration::ZERO)
            .start()
            .await;
        let (host, stop) = (Arc::new(host), Arc::new(AtomicBool::new(false)));
        let (mut shown, mut talks) = (Vec::new(), JoinSet::new());
        for number in 0..CLIENTS {
            let path = if number % 2 == 0 { "/websocket" } else { ROOMS[number / 2 % ROOMS.len()] };
            let (shows, shows_here) = watch::channel(0);
            let talker = Talker { host: host.clone(), path, shows, stop: stop.clone() };
            let client = talker.connects().await;
            talks.spawn(async move { (path, talker.talk(client, on_swap == OnSwap::Close).await) });
            shown.push(shows_here);
        }
        let mut crowd = Self { host, on_swap, stop, shown, talks };
        crowd.all_are_answered_by(version_after(0)).await;
        crowd
    }

    /// Both routes get their next versions.
    async fn swap(&self, number: u32) -> [SwapReport; 2] {
        let (alone, rooms) = (version(version_after(number)), room_version(version_after(number)));
        let (alone, rooms) = tokio::join!(
            self.host.swap(&alone, Some(self.on_swap)),
            self.host.swap_route(ROOMS_ROUTE, &rooms, Some(self.on_swap)),
        );
        [alone, rooms].map(|report| {
            let report = report.unwrap_or_else(|error| panic!("swap {number}: {error}"));
            assert_eq!((report.failed, report.lost, report.busy, report.no_room), (0, 0, 0, 0), "{report:?}");
            report
        })
    }

    /// Whoever is not, fails the test by its own patience or by this.
    async fn all_are_answered_by(&mut self, version: u32) {
        for shown in &mut self.shown {
            let answered = within("an answer of the new version", shown.wait_for(|shown| *shown == version));
            assert!(answered.await.is_ok(), "whoever talks has failed");
        }
    }

    /// All that was sent is answered.
    async fn ends(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = Seen { rooms: BTreeMap::new(), talked: Vec::new() };
        for (path, talked) in self.talks.join_all().await {
            assert!(talked.answers > 0);
            seen.rooms.entry(path).or_default().extend(&talked.room_counts);
            seen.talked.push(talked);
        }
        seen.rooms.values_mut().for_each(|counts| counts.sort_unstable());
        seen
    }
}

/// Each message of each room was counted once, by whichever version.
fn rooms_have_counted_on(seen: &Seen) {
    for room in ROOMS {
        let counts = &seen.rooms[room];
        let gap = counts.iter().zip(1..).find(|(count, number)| *count != number);
        assert!(!counts.is_empty() && gap.is_none(), "{room}: {gap:?}");
    }
}

#[tokio::test]
async fn migrated_under_load_everybody_is_served_by_the_new_version_and_nothing_is_lost() {
    let mut crowd = Crowd::gather(OnSwap::Migrate).await;
    let (mut pauses, mut shown_after) = (Vec::new(), Vec::new());
    for number in 1..=SWAPS {
        let began = Instant::now();
        for report in crowd.swap(number).await {
            assert_eq!((report.moved, report.connections), (CLIENTS / 2, CLIENTS / 2), "{report:?}");
            pauses.push(report.longest_pause);
        }
        crowd.all_are_answered_by(version_after(number)).await;
        shown_after.push(began.elapsed());
    }
    let seen = crowd.ends().await;
    assert!(seen.talked.iter().all(|talked| talked.closed == 0));
    rooms_have_counted_on(&seen);
    shown_after.sort_unstable();
    println!(
        "{SWAPS} swaps of {CLIENTS} connections: all have shown the new version after {:.0?} (median), {:.0?} (slowest swap); the longest pause of a \
         connection {:.1?} alone, {:.1?} in a room",
        shown_after[shown_after.len() / 2],
        shown_after[shown_after.len() - 1],
        pauses.iter().step_by(2).max().expect("swaps"),
        pauses.iter().skip(1).step_by(2).max().expect("swaps"),
    );
}

#[tokio::test]
async fn drained_under_load_everybody_keeps_his_version_and_newcomers_get_the_new_one() {
    let mut crowd = Crowd::gather(OnSwap::Drain).await;
    for number in 1..=SWAPS {
        for report in crowd.swap(number).await {
            assert_eq!((report.moved, report.on_swap), (0, OnSwap::Drain), "{report:?}");
        }
        let newest = version_after(number).to_string();
        for path in ["/websocket".to_owned(), format!("/rooms/after-{number}")] {
            let answer = crowd.host.connect(&path).await.say("0").await;
            assert_eq!(answer.split(':').next(), Some(newest.as_str()), "{path}");
        }
    }
    crowd.all_are_answered_by(version_after(0)).await;
    let seen = crowd.ends().await;
    assert!(seen.talked.iter().all(|talked| talked.closed == 0));
    rooms_have_counted_on(&seen);
}

#[tokio::test]
async fn closed_under_load_everybody_comes_back_to_the_new_version() {
    let mut crowd = Crowd::gather(OnSwap::Close).await;
    for number in 1..=SWAPS {
        crowd.swap(number).await;
        crowd.all_are_answered_by(version_after(number)).await;
    }
    let seen = crowd.ends().await;
    assert!(seen.talked.iter().all(|talked| talked.closed == SWAPS), "{:?}", seen.talked[0]);
}
