//! Routes with `fuel-per-event`: an event costs the same wherever it runs, may cost its limit and no more, and nobody else is metered.

use std::time::Duration;

use waterspout::FuelLimit;
use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost};

use crate::admin::{json, metrics, start};
use crate::probe::probe;

const OUT_OF_FUEL: (u16, &str) = (1011, "handler out of fuel");
const FUEL: &str = "waterspout_guest_fuel_total";
/// More than any event needs that ends.
const ENOUGH: u64 = 50_000_000;
/// Longer than any test takes.
const FOR_EVER: Duration = Duration::from_secs(600);

/// Echoes text after a thousand turns of a loop for each of its bytes, and loops for ever over anything else.
fn toiler() -> Guest {
    Guest::echo_changed(|text| {
        let begin = "    (local $connection i32)\n    (local.set $connection";
        assert!(text.contains(begin), "the echo has another beginning");
        let toil = "    (local $connection i32)
    (local $turns i32)
    (loop $endless (br_if $endless (local.get $kind)))
    (local.set $turns (i32.mul (local.get $bytes) (i32.const 1000)))
    (block $done
      (loop $turn
        (br_if $done (i32.eqz (local.get $turns)))
        (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
        (br $turn)))
    (local.set $connection";
        text.replacen(begin, toil, 1)
    })
}

fn metered(guest: Guest, limit: FuelLimit) -> Builder {
    TestHost::new(guest).limits(|limits| {
        limits.fuel_per_event = limit;
        limits.cpu_per_event = FOR_EVER;
        limits.wall_per_event = FOR_EVER;
    })
}

/// What a connection costs from its handshake to its end on which this is said.
async fn cost_of_life(host: &TestHost, texts: &[&str]) -> u64 {
    let before = metrics(host).await.sum(FUEL, &[]);
    let mut client = host.connect("/websocket").await;
    for text in texts {
        assert_eq!(client.say(*text).await, *text);
    }
    client.leave().await;
    loop {
        let metrics = metrics(host).await;
        // What the instance has used is counted before it is gone.
        if metrics.sum("waterspout_instances_live", &[]) == 0.0 {
            return (metrics.sum(FUEL, &[]) - before) as u64;
        }
    }
}

/// What one such message costs, beside nothing.
async fn cost_of(host: &TestHost, text: &str) -> u64 {
    cost_of_life(host, &[text]).await - cost_of_life(host, &[]).await
}

/// What comes before the close, and the close.
async fn until_close(client: &mut Client) -> (usize, (u16, String)) {
    let mut texts = 0;
    loop {
        match client.recv().await {
            tokio_tungstenite::tungstenite::Message::Close(frame) => {
                let frame = frame.expect("a code");
                return (texts, (frame.code.into(), frame.reason.as_str().to_owned()));
            }
            _ => texts += 1,
        }
    }
}

fn out_of_fuel() -> (u16, String) {
    (OUT_OF_FUEL.0, OUT_OF_FUEL.1.to_owned())
}

#[tokio::test]
async fn the_same_event_costs_the_same_each_time_on_each_connection_and_each_host() {
    let mut costs = Vec::new();
    for _ in 0..2 {
        let (host, _folder) = start(metered(toiler(), FuelLimit::AtMost(u64::MAX))).await;
        let lives = [
            cost_of_life(&host, &[]).await,
            cost_of_life(&host, &["abc"]).await,
            cost_of_life(&host, &["abc", "abc"]).await,
        ];
        assert_eq!(lives[1] - lives[0], lives[2] - lives[1]);
        assert!(lives[1] - lives[0] > 3 * cost_of(&host, "").await, "a loop costs its turns");
        costs.push(lives);
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn an_event_may_use_all_its_fuel_and_one_that_needs_a_unit_more_is_stopped() {
    let (host, _folder) = start(metered(toiler(), FuelLimit::AtMost(u64::MAX))).await;
    let cost = cost_of(&host, "abc").await;

    let (host, _folder) = start(metered(toiler(), FuelLimit::AtMost(cost))).await;
    assert_eq!(cost_of_life(&host, &["abc"; 3]).await, 3 * cost + cost_of_life(&host, &[]).await);

    for (limit, echoed) in [(cost - 1, 1), (cost / 2, 0)] {
        let (host, _folder) = start(metered(toiler(), FuelLimit::AtMost(limit))).await;
        let mut client = host.connect("/websocket").await;
        client.send_text("abc").await;
        // Stopped at its very end it has written already.
        assert_eq!(until_close(&mut client).await, (echoed, out_of_fuel()), "{limit} of {cost}");
        assert_eq!(host.connection_ends().await, "out_of_fuel");
        let traps = metrics(&host).await.sum("waterspout_traps_total", &[("cause", "fuel")]);
        assert_eq!(traps, 1.0);
        let mut another = host.connect("/websocket").await;
        assert_eq!(another.say("a").await, "a", "{limit} of {cost}");
    }
}

#[tokio::test]
async fn an_endless_event_is_out_of_fuel_however_much_time_it_has() {
    let (host, _folder) = start(metered(toiler(), FuelLimit::AtMost(ENOUGH))).await;
    let mut client = host.connect("/websocket").await;
    client.send_binary([1]).await;
    assert_eq!(client.recv_close().await, out_of_fuel());
    client.ends().await;
    let record = host.logged("the failure", |record| record.field("call") == "on-message").await;
    assert_eq!(record.message, "the handler ran out of fuel");
    let cause = format!("used more than {ENOUGH} units of fuel in one event (limit `fuel-per-event`)");
    assert_eq!(record.field("cause"), cause);
    assert!(!record.field("at").is_empty(), "{record}");
    // All that it had, and what the connection's other events have used.
    let used = metrics(&host).await.sum(FUEL, &[("tenant", "default"), ("route", "test")]) as u64;
    assert!((ENOUGH..ENOUGH + 10_000).contains(&used), "{used}");
    assert_eq!(host.connect("/websocket").await.say("abc").await, "abc");
}

#[tokio::test]
async fn metered_code_is_stopped_by_its_processor_time_too() {
    let host = metered(toiler(), FuelLimit::AtMost(u64::MAX))
        .limits(|limits| limits.cpu_per_event = Duration::from_millis(300));
    let (host, _folder) = start(host).await;
    let mut client = host.connect("/websocket").await;
    client.send_binary([1]).await;
    assert_eq!(client.recv_close().await, (1011, "handler took too long".into()));
    let metrics = metrics(&host).await;
    let traps = |cause: &str| metrics.sum("waterspout_traps_total", &[("cause", cause)]);
    assert_eq!((traps("cpu"), traps("fuel")), (1.0, 0.0));
}

#[tokio::test]
async fn a_question_of_the_handshake_that_runs_out_of_fuel_is_503() {
    let host = probe().limits(|limits| {
        limits.fuel_per_event = FuelLimit::AtMost(ENOUGH);
        limits.cpu_per_event = FOR_EVER;
    });
    let host = host.start().await;
    for call in ["constructor", "prepare", "origin", "select", "compression"] {
        let answer =
            host.request(&format!("/websocket?{call}=spin")).header("Origin", host.origin()).answer().await;
        assert_eq!((answer.status, answer.text()), (503, "The handler ran out of fuel."), "{call}");
    }
    assert_eq!(host.connect("/websocket").await.say("count").await, "1");
}

#[tokio::test]
async fn a_start_that_runs_out_of_fuel_is_503_and_not_tried_for_everybody() {
    let guest = Guest::echo_changed(|text| {
        let spinning = "(start $spin)\n  (func $spin (loop $on (br $on)))\n  (func $slot";
        text.replacen("(func $slot", spinning, 1)
    });
    let host = metered(guest, FuelLimit::AtMost(ENOUGH)).start().await;
    for text in ["The handler ran out of fuel.", "The handler cannot start."] {
        let answer = host.request("/websocket").answer().await;
        assert_eq!((answer.status, answer.text()), (503, text));
    }
    let record = host.logged("the failure", |record| record.field("call") == "instantiate").await;
    assert_eq!(record.message, "the handler ran out of fuel");
}

#[tokio::test]
async fn a_route_without_the_limit_is_not_metered_and_goes_on_beside_one_that_is() {
    let host = metered(toiler(), FuelLimit::AtMost(ENOUGH)).and_route(toiler(), "/free");
    let (host, _folder) = start(host.limits(|limits| limits.cpu_per_event = FOR_EVER)).await;
    let mut free = host.connect("/free").await;
    let mut metered = host.connect("/websocket").await;
    // More than the other route's events may use: a thousand turns a byte.
    let long = "x".repeat((ENOUGH / 1000) as usize);
    metered.send_binary([1]).await;
    assert_eq!(free.say(long.as_str()).await, long);
    assert_eq!(metered.recv_close().await, out_of_fuel());
    assert_eq!(free.say("abc").await, "abc");
    let exposed = metrics(&host).await;
    assert!(exposed.sum(FUEL, &[("route", "test")]) >= ENOUGH as f64);
    assert_eq!(exposed.sum(FUEL, &[("route", "/free")]), 0.0);
    let tenants = json(&host, "GET", "/tenants").await;
    let routes = tenants["tenants"][0]["routes"].as_array().expect("routes").clone();
    assert_eq!(routes[0]["used"]["fuel"].as_f64(), Some(exposed.sum(FUEL, &[])));
    assert_eq!(routes[0]["limits"]["fuel-per-event"], ENOUGH.to_string());
    assert!(routes[1]["used"].get("fuel").is_none());
    assert_eq!(routes[1]["limits"]["fuel-per-event"], "off");
}

#[tokio::test]
async fn what_follows_a_message_that_a_handler_has_waited_for_has_the_fuel_of_an_event_of_its_own() {
    const ROUNDS: usize = 20;
    let server = TestHost::new(Guest::Echo).start().await;
    // All that is read comes to one event, in which `up-pump` passes it on.
    let pump = async |limit| {
        let host = probe().connects_to(&[server.address().to_string()]).limits(|limits| {
            limits.fuel_per_event = FuelLimit::AtMost(limit);
            limits.cpu_per_event = FOR_EVER;
        });
        let (host, folder) = start(host).await;
        let mut client = host.connect("/websocket").await;
        assert_eq!(client.say(format!("dial ws://{}/websocket", server.address())).await, "ok");
        for _ in 0..ROUNDS {
            assert_eq!(client.say("up-write 100 x 10").await, "wrote 100: ok");
        }
        let before = metrics(&host).await.sum(FUEL, &[]);
        client.send_text("up-pump").await;
        for _ in 0..ROUNDS * 100 {
            assert_eq!(client.recv_text().await, "x".repeat(10));
        }
        let used = (metrics(&host).await.sum(FUEL, &[]) - before) as u64;
        drop(folder);
        used
    };
    let cost = pump(u64::MAX).await;
    // Enough for each of the other events, and not for a quarter of this one as a whole.
    pump(cost / 4).await;
}
