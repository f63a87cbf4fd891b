//! Every limit has a test at it and one past it: the table of them, which is complete, and those tests that have no other place.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use waterspout::{Limits, Runtime, RuntimeOptions};
use waterspout_tests::{Client, Guest, TestHost, within};

use crate::probe::probe;

/// The tests of one limit.
struct Bound {
    key: &'static str,
    /// At it everything still works.
    at: &'static str,
    /// Past it happens what the page says.
    past: &'static str,
}

const fn bound(key: &'static str, at: &'static str, past: &'static str) -> Bound {
    Bound { key, at, past }
}

/// One test for both.
const fn both(key: &'static str, test: &'static str) -> Bound {
    Bound { key, at: test, past: test }
}

/// By heading of docs/configuration.md.
#[rustfmt::skip]
const BOUNDS: &[(&str, &[Bound])] = &[
    ("Keys of the file", &[
        bound("grace", "a_server_that_goes_away_closes_every_connection_with_1001", "a_peer_that_does_not_go_is_dropped_after_the_grace"),
        both("takeover-drain", "after_the_drain_who_is_left_is_told_to_come_again"),
        bound("takeover-timeout", "nobody_who_connects_is_refused_through_ten_takeovers_and_who_is_connected_stays", "a_successor_that_takes_too_long_is_ended"),
        bound("handshake-timeout", "a_good_handshake_that_arrives_byte_by_byte_is_served", "who_asks_nothing_is_dropped_after_the_handshakes_time"),
        both("max-connections", "one_socket_more_than_there_may_be_waits_until_another_has_ended"),
        both("max-connections-per-address", "an_address_has_so_many_connections_and_one_more_when_one_ends"),
        bound("max-handshakes-per-address", "an_address_has_so_many_a_second_and_no_more_after_a_long_silence", "an_address_has_so_many_handshakes_a_second"),
        both("max-instances", "all_routes_together_have_the_runtimes_instances"),
        both("max-memory-bytes", "all_tenants_together_have_the_runtimes_memory"),
        both("max-cache-bytes", "a_cache_that_is_full_keeps_what_was_used_last"),
    ]),
    ("Keys of a route", &[
        both("spare-instances", "a_route_may_have_a_thousand_spares_and_no_more_than_instances"),
        both("max-drain", "drained_connections_keep_the_old_version_until_max_drain_and_then_close_with_1012"),
        both("spread", "close_ends_every_connection_with_1012_within_the_spread"),
        both("canary-time", "it_is_promoted_after_its_time_and_addresses_and_not_before"),
        both("canary-addresses", "it_is_promoted_after_its_time_and_addresses_and_not_before"),
    ]),
    ("Compiling", &[
        bound("timeout", "a_route_answers_while_a_stranger_compiles_beside_it", "a_handler_that_compiles_for_too_long_is_refused_with_the_key"),
        both("max-memory-bytes", "a_handler_that_takes_too_much_memory_to_compile_is_refused_with_the_key"),
        both("max-component-bytes", "a_file_may_be_as_large_as_max_component_bytes_and_not_a_byte_larger"),
        both("max-artefact-bytes", "compiled_code_may_be_as_large_as_max_artefact_bytes_and_not_a_byte_larger"),
        both("max-at-once", "so_many_handlers_are_compiled_at_once_and_the_next_one_waits"),
        both("max-start-wait", "what_is_not_compiled_when_the_start_has_waited_long_enough_is_served_as_soon_as_it_is"),
    ]),
    ("Compression", &[
        both("threshold", "small_messages_go_as_they_are"),
    ]),
    ("Tenants", &[
        both("max-connections", "a_tenant_has_so_many_connections_on_all_his_routes_and_others_have_their_own"),
        both("max-instances", "a_tenant_has_so_many_instances_and_others_have_their_own"),
        both("max-memory-bytes", "what_a_tenants_instances_grow_to_is_his_memory_and_comes_back"),
        bound("cpu-share", "who_is_within_his_share_never_waits_for_who_is_not", "who_has_overdrawn_less_for_his_share_is_called_first"),
        both("max-log-bytes-per-second", "a_tenants_instances_together_print_no_more_than_he_may"),
    ]),
    ("Limits", &[
        both("max-message-bytes", "a_message_of_exactly_the_limit_passes_and_one_byte_more_is_1009"),
        both("max-fragments", "a_message_of_as_many_frames_as_it_may_have_is_handled_and_one_of_one_more_is_1009"),
        bound("max-messages-per-second", "a_seconds_worth_passes_at_once_and_then_as_much_as_comes", "messages_past_the_rate_wait_and_others_do_not"),
        bound("max-bytes-per-second", "a_seconds_worth_passes_at_once_and_then_as_much_as_comes", "bytes_past_the_rate_wait_over_tcp_tls_and_http2"),
        both("max-queue-bytes", "the_queue_takes_exactly_its_bytes_and_not_one_more"),
        bound("max-memory-bytes", "a_component_may_begin_with_exactly_what_it_may_have", "memory_over_the_limit_is_refused_inside_the_guest"),
        both("max-table-elements", "a_table_grows_to_the_limit_and_not_by_one_element_more"),
        both("max-handles", "as_many_handles_as_there_may_be_work_and_one_more_is_a_trap"),
        bound("cpu-per-event", "each_event_has_the_whole_of_its_processor_time", "an_event_that_does_not_return_ends_its_connection_with_1011"),
        both("fuel-per-event", "an_event_may_use_all_its_fuel_and_one_that_needs_a_unit_more_is_stopped"),
        bound("wall-per-event", "a_handler_that_answers_just_within_its_time_is_served", "an_event_that_waits_too_long_ends_its_connection_with_1011"),
        both("shared-wait", "in_a_shared_instance_nobody_waits_for_long"),
        both("max-compression-bytes", "at_max_compression_bytes_newcomers_go_uncompressed_until_there_is_room_again"),
        both("max-client-connections", "a_handler_may_have_so_many_connections_and_one_that_has_ended_makes_room"),
        both("max-route-client-connections", "a_routes_handlers_together_may_have_so_many_connections_of_their_own"),
        both("max-connects-per-second", "a_handler_begins_so_many_connections_a_second_and_as_many_after_a_silence"),
        both("max-route-connects-per-second", "all_handlers_of_a_route_together_begin_so_many_connections_a_second"),
        both("max-state-bytes", "a_state_over_max_state_bytes_stays_with_the_old_version"),
        both("max-timers", "timers_are_bounded_and_a_replaced_one_is_none_more"),
        both("max-topics", "topics_are_bounded_in_number_and_length"),
        both("max-topic-bytes", "topics_are_bounded_in_number_and_length"),
        both("max-instances", "a_route_has_at_most_max_instances"),
        both("max-connections-per-instance", "a_shared_instance_has_at_most_max_connections_per_instance"),
        bound("linger", "an_instance_lingers_after_its_last_connection", "an_instance_ends_when_it_has_lingered"),
        bound("ping-interval", "a_peer_that_answers_is_pinged_once_an_interval_and_stays", "a_ping_without_an_answer_closes_the_connection_with_tornados_words"),
        bound("pong-timeout", "a_pong_that_nobody_has_read_yet_is_not_late", "a_ping_without_an_answer_closes_the_connection_with_tornados_words"),
        bound("idle-timeout", "a_silent_connection_ends_after_its_idle_time_and_pings_are_no_messages", "an_idle_connection_is_closed"),
        bound("life-time", "a_connection_ends_when_its_life_time_is_over_whatever_it_does", "a_connection_that_has_been_open_for_long_enough_is_closed"),
        bound("write-timeout", "a_peer_that_takes_nothing_is_dropped_and_one_that_takes_something_is_not", "a_peer_that_takes_nothing_is_dropped"),
        bound("close-timeout", "a_close_that_nobody_answers_is_given_up_from_the_last_that_was_taken_of_what_came_before", "a_peer_that_does_not_answer_a_close_is_dropped"),
        both("max-response-header-bytes", "headers_of_the_101_are_bounded_in_bytes"),
        both("max-response-body-bytes", "a_handlers_answer_has_so_many_bytes_and_with_one_more_it_is_refused_and_the_log_says_why"),
        both("max-log-bytes-per-second", "what_an_instance_prints_over_its_rate_is_dropped_and_counted"),
        both("max-log-line-bytes", "a_printed_line_over_the_limit_is_cut_and_says_so"),
    ]),
];

/// `HEADING / key` of every key that is a size, a count or a duration.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../../docs/configuration.md");
    let mut heading = "";
    let mut keys = BTreeSet::new();
    for line in page.lines() {
        if let Some(text) = line.strip_prefix('#') {
            heading = text.trim_start_matches('#').trim();
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let ["", key, form, _, _, ..] = cells[..]
            && ["size", "count", "duration"].iter().any(|kind| form.starts_with(kind))
        {
            keys.insert(format!("{heading} / {}", key.trim_matches('`')));
        }
    }
    keys
}

#[test]
fn every_limit_of_the_documentation_has_its_tests() {
    let tested = BOUNDS
        .iter()
        .flat_map(|(heading, bounds)| bounds.iter().map(move |bound| format!("{heading} / {}", bound.key)))
        .collect();
    let documented = documented();
    assert!(documented.len() > 40, "{documented:?}");
    let untested: Vec<_> = documented.difference(&tested).collect();
    assert!(
        untested.is_empty(),
        "tests at these limits and past them are to be named in BOUNDS: {untested:?}"
    );
    let unknown: Vec<_> = tested.difference(&documented).collect();
    assert!(unknown.is_empty(), "docs/configuration.md has no such size, count or duration: {unknown:?}");
}

#[test]
fn the_tests_of_limits_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = String::new();
    let mut folders = vec![root.join("tests/tests/stories"), root.join("host/src"), root.join("host/tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                sources += &fs::read_to_string(&entry).expect("text");
            }
        }
    }
    let is_a_test = |name: &str| {
        sources.split(&format!("fn {name}()")).next().is_some_and(|before| {
            before.len() < sources.len() && before.rfind("test").is_some_and(|at| before.len() - at < 80)
        })
    };
    let missing: Vec<_> = BOUNDS
        .iter()
        .flat_map(|(_, bounds)| bounds.iter())
        .flat_map(|bound| [bound.at, bound.past])
        .filter(|name| !is_a_test(name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// How often it answers before it ends with 1011.
async fn until_it_fails(client: &mut Client, message: &str, answer: &str) -> usize {
    let mut answers = 0;
    loop {
        client.send_text(message).await;
        match client.recv().await {
            tokio_tungstenite::tungstenite::Message::Text(text) => assert_eq!(text.as_str(), answer),
            tokio_tungstenite::tungstenite::Message::Close(Some(frame)) => {
                assert_eq!(u16::from(frame.code), 1011);
                return answers;
            }
            other => panic!("{other:?}"),
        }
        answers += 1;
    }
}

#[tokio::test]
async fn as_many_handles_as_there_may_be_work_and_one_more_is_a_trap() {
    let mut worked = Vec::new();
    for max_handles in [200, 201] {
        let host = probe().limits(|limits| limits.max_handles = max_handles).start().await;
        worked.push(until_it_fails(&mut host.connect("/websocket").await, "handles 1", "ok").await);
    }
    // Those of the connection and of what the guest's runtime has are a few.
    assert!((180..200).contains(&worked[0]), "{worked:?}");
    assert_eq!(worked[1], worked[0] + 1, "each counts, and the last that may be works");
}

#[tokio::test]
async fn a_table_grows_to_the_limit_and_not_by_one_element_more() {
    // With each message by one.
    let growing = |text: &str| {
        let text = text.replacen("  (memory (export", "  (table $grown 1 funcref)\n  (memory (export", 1);
        let begin = "    (local $connection i32)\n    (local.set $connection";
        assert!(text.contains(begin), "host/src/handler/echo.wat has changed");
        text.replacen(
            begin,
            "    (local $connection i32)\n    \
             (if (i32.eq (table.grow $grown (ref.null func) (i32.const 1)) (i32.const -1)) (then unreachable))\n    \
             (local.set $connection",
            1,
        )
    };
    let mut worked = Vec::new();
    for max_table_elements in [100, 101] {
        let host = TestHost::new(Guest::echo_changed(growing))
            .limits(|limits| limits.max_table_elements = max_table_elements)
            .start()
            .await;
        worked.push(until_it_fails(&mut host.connect("/websocket").await, "more", "more").await);
    }
    // Other tables of the component's have a few.
    assert!((70..100).contains(&worked[0]), "{worked:?}");
    assert_eq!(worked[1], worked[0] + 1, "each counts, and the last that may be is there");
}

#[tokio::test]
async fn a_routes_handlers_together_may_have_so_many_connections_of_their_own() {
    let server = TestHost::new(Guest::Echo).start().await;
    let host = probe()
        .connects_to(&[server.address().to_string()])
        .limits(|limits| limits.max_route_client_connections = 2)
        .start()
        .await;
    let dial = format!("dial ws://{}/websocket", server.address());
    let mut clients = Vec::new();
    for answer in ["ok", "ok", "limit max-route-client-connections"] {
        let mut client = host.connect("/websocket").await;
        assert_eq!(client.say(&dial).await, answer);
        clients.push(client);
    }
    let mut refused = clients.pop().expect("the third");
    clients.pop().expect("the second").leave().await;
    within("its place", async { while refused.say(&dial).await != "ok" {} }).await;
}

#[tokio::test]
async fn all_tenants_together_have_the_runtimes_memory() {
    let limits = Limits::default();
    let options =
        RuntimeOptions { max_instances: 100, max_memory_bytes: 40 << 20, ..RuntimeOptions::default() };
    let runtime = Arc::new(Runtime::new(&options, [&limits]).expect("address space for a few instances"));
    let host = probe()
        .path("/one")
        .and_route(Guest::named("probe"), "/other")
        .route(|route| route.tenant.name = "other".into())
        .runtime(runtime)
        .start()
        .await;
    let mut one = host.connect("/one").await;
    let mut other = host.connect("/other").await;
    assert_eq!(one.say("grow 20MiB").await, "ok");
    assert_eq!(other.say("grow 20MiB").await, "refused", "there is none left of the server's");
    // What is left is for newcomers, until it is used up.
    let mut newcomers = Vec::new();
    let refused = loop {
        let mut raw = host.request("/other").sent().await;
        let answer = raw.answer(true).await;
        if answer.status != 101 {
            break answer;
        }
        newcomers.push(raw);
        assert!(newcomers.len() < 90, "they take no memory");
    };
    assert_eq!((refused.status, refused.text()), (503, "The server is full."));
    let record = host.logged("it", |record| record.message == "refused").await;
    assert_eq!(record.field("limit"), "max-memory-bytes of the server");
    one.leave().await;
    within("its memory", async { while other.say("grow 20MiB").await != "ok" {} }).await;
}

#[tokio::test]
async fn one_socket_more_than_there_may_be_waits_until_another_has_ended() {
    let host = TestHost::new(Guest::Echo).options(|options| options.max_connections = 2).start().await;
    let mut first = host.connect("/websocket").await;
    let second = host.connect("/websocket").await;
    let mut third = pin!(host.connect("/websocket"));
    // As long as many answers take it has none.
    for _ in 0..100 {
        tokio::select! {
            biased;
            _ = &mut third => panic!("there is no room"),
            answer = first.say("still here") => assert_eq!(answer, "still here"),
        }
    }
    second.leave().await;
    assert_eq!(third.await.say("there is room").await, "there is room");
}
