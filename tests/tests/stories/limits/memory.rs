//! Memory, stack and handles of an instance.

use waterspout::{HandlerSource, Limits, Runtime, RuntimeOptions};
use waterspout_tests::Guest;

use super::goes_on;
use crate::probe::probe;

#[tokio::test]
async fn memory_over_the_limit_is_refused_inside_the_guest() {
    let host = probe().limits(|limits| limits.max_memory_bytes = 16 << 20).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("grow 8MiB").await, "ok");
    assert_eq!(client.say("grow 8MiB").await, "refused");
    // The guest lives, and has what is left.
    assert_eq!(client.say("grow 4MiB").await, "ok");
    goes_on(&host, "/websocket").await;
}

#[tokio::test]
async fn the_default_memory_is_64_mib() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("grow 60MiB").await, "ok");
    assert_eq!(client.say("grow 4MiB").await, "refused");
    let mut another = host.connect("/websocket").await;
    assert_eq!(another.say("grow 60MiB").await, "ok");
}

#[tokio::test]
async fn a_component_that_begins_with_more_than_it_may_have_is_refused_naming_the_limit() {
    let limits = Limits { max_memory_bytes: 64 << 10, ..Limits::default() };
    let few_elements = Limits { max_table_elements: 1, ..Limits::default() };
    let options = RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() };
    let runtime = Runtime::new(&options, [&limits, &few_elements]).expect("address space for two instances");
    for (limits, key) in [(limits, "max-memory-bytes"), (few_elements, "max-table-elements")] {
        let error =
            runtime.load(&Guest::named("probe").source(), &limits).expect_err("too large").to_string();
        assert!(error.contains(&format!("raise `{key}`")), "{error}");
        assert!(error.starts_with("needs "), "{error}");
    }
}

#[tokio::test]
async fn a_component_may_begin_with_exactly_what_it_may_have() {
    // The embedded echo's memory has six pages.
    let pages = |pages: usize| Limits { max_memory_bytes: pages << 16, ..Limits::default() };
    let options = RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() };
    let runtime = Runtime::new(&options, [&pages(1)]).expect("address space for an instance");
    runtime.load(&HandlerSource::Echo, &pages(6)).expect("six pages are enough");
    let error = runtime.load(&HandlerSource::Echo, &pages(5)).expect_err("too large").to_string();
    assert_eq!(
        error,
        "needs 393216 bytes of memory to begin with, and the route allows 327680 bytes: raise `max-memory-bytes`"
    );
}

#[tokio::test]
async fn a_stack_that_overflows_is_a_trap() {
    let host = probe().start().await;
    let mut other = host.connect("/websocket").await;
    for call in ["constructor", "prepare"] {
        assert_eq!(host.request(&format!("/websocket?{call}=recurse")).answer().await.status, 500);
    }
    let mut client = host.connect("/websocket").await;
    client.send_text("recurse").await;
    assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
    let record = host.logged("the trap", |record| record.field("call") == "on-message").await;
    assert!(record.field("cause").contains("call stack exhausted"), "{record}");
    assert!(record.field("at").contains("recurse"), "{record}");
    assert_eq!(other.say("count").await, "1");
}

#[tokio::test]
async fn component_handles_over_the_limit_are_a_trap() {
    let host = probe().limits(|limits| limits.max_handles = 1000).start().await;
    let mut other = host.connect("/websocket").await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("handles 900").await, "ok");
    client.send_text("handles 100").await;
    assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
    assert_eq!(other.say("handles 900").await, "ok");
}
