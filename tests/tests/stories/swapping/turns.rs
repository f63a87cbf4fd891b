//! Who goes over, and who waits until it is his turn.

use std::future::poll_fn;
use std::task::Poll;

use waterspout_tests::{Guest, TestHost};

/// More than have a turn at once, of one tenant.
const ROOMS: usize = 12;

#[tokio::test]
async fn newcomers_of_rooms_whose_turn_has_not_come_are_served_meanwhile() {
    let attacker = || Guest::named("attacker");
    let host = TestHost::new(attacker()).path("/rooms/{room}").instance("{room}").start().await;
    let mut there = Vec::new();
    for room in 0..ROOMS {
        // Each takes as long as it may.
        there.push(host.connect(&format!("/rooms/{room}?at=suspend&do=sleep")).await);
    }
    let newcomer = async {
        host.logged("the swap", |record| record.message.contains("the handler is replaced")).await;
        let mut coming: Vec<_> = (0..ROOMS)
            .map(|room| {
                let host = &host;
                Box::pin(async move { host.connect(&format!("/rooms/{room}")).await })
            })
            .collect();
        poll_fn(|cx| {
            let came = coming.iter_mut().any(|one| one.as_mut().poll(cx).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    };
    let new = attacker();
    tokio::select! {
        report = host.swap(&new, None) => panic!("nobody came until those before him had gone over: {report:?}"),
        () = newcomer => {}
    }
}
