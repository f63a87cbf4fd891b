//! Swaps under load: twenty in a row, and nothing is lost, doubled or out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use waterspout::OnSwap;
use waterspout_tests::{Client, Guest, TestHost};

use super::{counter, counting_rooms, room_version, version};

/// Connections of each story: half of what is asked of a release.
const CLIENTS: usize = 100;
const IN_FLIGHT: usize = 8;
const SWAPS: u32 = 20;
const ROOMS: [&str; 5] = ["/rooms/red", "/rooms/green", "/rooms/blue", "/rooms/black", "/rooms/white"];

/// Talks, several messages at a time, until it is told to stop: the answers come in order, each once, and what the connection's handler
/// counts has no gap. Returns how many there were, and the version that answered last.
async fn talk(mut client: Client, stop: Arc<AtomicBool>) -> (usize, String) {
    let (mut sent, mut answered, mut version) = (0, 0, String::new());
    loop {
        while !stop.load(Ordering::Relaxed) && sent < answered + IN_FLIGHT {
            client.send_text(format!("{sent}")).await;
            sent += 1;
        }
        if answered == sent {
            client.leave().await;
            return (answered, version);
        }
        let answer = client.recv_text().await;
        let parts: Vec<&str> = answer.split(':').collect();
        let [of, .., count, text] = *parts else { panic!("{answer}") };
        assert_eq!(
            (count, text),
            ((answered + 1).to_string().as_str(), answered.to_string().as_str()),
            "{answer}"
        );
        answered += 1;
        version = of.into();
    }
}

/// Swaps `SWAPS` times between two versions while everybody talks: all are answered, and by the first version at the end, for it is that of
/// the last swap, and that of those who stay.
async fn swap_under_load(host: &TestHost, paths: &[&str], versions: [Guest; 2], on_swap: OnSwap) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut talks = JoinSet::new();
    for number in 0..CLIENTS {
        let client = host.connect(paths[number % paths.len()]).await;
        talks.spawn(talk(client, stop.clone()));
    }
    for number in 1..=SWAPS {
        let report = host.swap(&versions[(number % 2) as usize], Some(on_swap)).await;
        let report = report.unwrap_or_else(|error| panic!("swap {number}: {error}"));
        assert_eq!((report.failed, report.lost, report.busy), (0, 0, 0), "{report:?}");
        if on_swap == OnSwap::Migrate {
            assert_eq!(report.moved, CLIENTS, "{report:?}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let talked = talks.join_all().await;
    assert!(talked.iter().all(|(answers, version)| *answers > 0 && version == "1"), "{talked:?}");
}

#[tokio::test]
async fn every_connection_goes_over_twenty_times_with_its_counter_and_its_messages() {
    let host = counter().start().await;
    swap_under_load(&host, &["/websocket"], [version(1), version(2)], OnSwap::Migrate).await;
}

#[tokio::test]
async fn rooms_go_over_twenty_times_with_their_counters_and_their_messages() {
    let host = counting_rooms().start().await;
    swap_under_load(&host, &ROOMS, [room_version(1), room_version(2)], OnSwap::Migrate).await;
}

#[tokio::test]
async fn who_is_drained_keeps_his_version_through_twenty_swaps() {
    let host = counter().start().await;
    swap_under_load(&host, &["/websocket"], [version(1), version(2)], OnSwap::Drain).await;
}

/// Comes back whenever it is closed for a swap, until it is told to stop. Returns how often.
async fn come_back(host: Arc<TestHost>, path: &'static str, stop: Arc<AtomicBool>) -> usize {
    let mut closed = 0;
    loop {
        // A room that is ending says 503.
        let Ok(mut client) = host.try_connect(path, &[]).await else { continue };
        for number in 0.. {
            client.send_text(format!("{number}")).await;
            match client.recv().await {
                Message::Text(answer) => {
                    let parts: Vec<&str> = answer.split(':').collect();
                    let [.., count, text] = *parts else { panic!("{answer}") };
                    assert_eq!(
                        (count, text),
                        ((number + 1).to_string().as_str(), number.to_string().as_str())
                    );
                }
                Message::Close(Some(frame)) => {
                    assert_eq!(u16::from(frame.code), 1012);
                    closed += 1;
                    break;
                }
                other => panic!("{other}"),
            }
            if stop.load(Ordering::Relaxed) {
                // Without a word: the last swap may be about to close it.
                client.reset();
                return closed;
            }
        }
    }
}

async fn close_under_load(host: TestHost, path: &'static str, versions: [Guest; 2]) {
    let host = Arc::new(host);
    let stop = Arc::new(AtomicBool::new(false));
    let mut talks = JoinSet::new();
    for _ in 0..CLIENTS {
        talks.spawn(come_back(host.clone(), path, stop.clone()));
    }
    for number in 1..=SWAPS {
        let report = host.swap(&versions[(number % 2) as usize], Some(OnSwap::Close)).await;
        report.unwrap_or_else(|error| panic!("swap {number}: {error}"));
    }
    stop.store(true, Ordering::Relaxed);
    let talked = talks.join_all().await;
    assert!(talked.iter().any(|closed| *closed > 0), "{talked:?}");
    assert_eq!(host.connect(path).await.say("x").await.chars().next(), Some('1'));
}

#[tokio::test]
async fn who_is_closed_comes_back_through_twenty_swaps() {
    let host = counter().route(|route| route.swap.spread = Duration::ZERO).start().await;
    close_under_load(host, "/websocket", [version(1), version(2)]).await;
}

#[tokio::test]
async fn who_is_closed_with_his_room_comes_back_through_twenty_swaps() {
    let host = counting_rooms().route(|route| route.swap.spread = Duration::ZERO).start().await;
    close_under_load(host, "/rooms/blue", [room_version(1), room_version(2)]).await;
}

#[tokio::test]
async fn rooms_that_are_drained_keep_their_version_through_twenty_swaps() {
    let host = counting_rooms().start().await;
    swap_under_load(&host, &ROOMS, [room_version(1), room_version(2)], OnSwap::Drain).await;
}
