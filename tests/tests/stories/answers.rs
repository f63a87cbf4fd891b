//! What handlers answer in place of the upgrade: bounded, their tenant's memory until the peer has it, and not for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use waterspout::{Tenant, TenantLimits};
use waterspout_tests::host::Builder;
use waterspout_tests::http2::{END_HEADERS, Http2, Http2Frame, RawHttp2, handshake_headers, kind};
use waterspout_tests::{Guest, Identity, TestHost, within};

fn attacker() -> Builder {
    TestHost::new(Guest::named("attacker"))
}

/// A handshake that the handler answers with so many bytes.
fn answering(bytes: usize) -> String {
    format!("/websocket?at=prepare&do=answer+{bytes}")
}

/// A tenant that has room for one instance and a few answers of 64 KiB.
fn small_tenant() -> Tenant {
    Tenant {
        name: "small".into(),
        total: TenantLimits { max_memory_bytes: 4 << 20, ..TenantLimits::default() },
    }
}

const BODY_BYTES: usize = 64 << 10;

#[tokio::test]
async fn a_handlers_answer_has_so_many_bytes_and_with_one_more_it_is_refused_and_the_log_says_why() {
    let host = attacker().limits(|limits| limits.max_response_body_bytes = 1000).start().await;
    let answer = host.request(&answering(1000)).answer().await;
    assert_eq!((answer.status, answer.body.len()), (200, 1000));
    let refused = host.request(&answering(1001)).answer().await;
    assert_eq!((refused.status, refused.text()), (500, "The handler failed."));
    let record = host.logged("it", |record| record.message == "prepare answered what it may not").await;
    let why = "its body has 1001 bytes, and `max-response-body-bytes` is 1000: answer less, or raise it";
    assert_eq!((record.field("why"), record.field("route")), (why, "test"));
}

/// A stream whose answer may not be sent.
async fn ask(raw: &mut RawHttp2, stream: u32, path: &str) {
    raw.send(Http2Frame::new(kind::HEADERS, END_HEADERS, stream, handshake_headers(path)))
        .await
        .expect("sent");
    raw.find(|frame| frame.kind == kind::HEADERS && frame.stream == stream).await.expect("an answer");
}

/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 section 6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;

#[tokio::test]
async fn what_a_peer_without_a_window_leaves_of_answers_is_their_tenants_memory() {
    let identity = Identity::new(&["localhost"]);
    let host =
        attacker().route(|route| route.tenant = small_tenant()).tls(identity.certificates()).start().await;
    let is_refused =
        || host.logs().iter().any(|record| record.field("limit") == "max-memory-bytes of the tenant");
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let mut streams = (1_u32..).step_by(2);
    let mut asked = Vec::new();
    while !is_refused() {
        assert!(asked.len() < 90, "90 answers of 64 KiB are held in 4 MiB");
        let stream = streams.next().expect("a number");
        ask(&mut raw, stream, &answering(BODY_BYTES)).await;
        asked.push(stream);
    }
    assert!(asked.len() > 3, "only {} answers", asked.len());
    // Nobody who reads is answered either, until they are given back.
    let mut reader = Http2::connect(&identity, host.second_address()).await;
    let request = reader.handshake(&answering(BODY_BYTES));
    assert_eq!(reader.answer(request).await.0, 503);
    for stream in asked {
        raw.send(Http2Frame::new(kind::RST_STREAM, 0, stream, 8_u32.to_be_bytes())).await.expect("sent");
    }
    raw.send(Http2Frame::new(kind::PING, 0, 0, [7; 8])).await.expect("sent");
    raw.find(|frame| frame.kind == kind::PING && frame.flags == 1).await.expect("it has seen the resets");
    within("memory", async {
        loop {
            let request = reader.handshake(&answering(BODY_BYTES));
            if let (403, body) = reader.answer(request).await {
                break assert_eq!(body.len(), BODY_BYTES);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_peers_do_not_read_of_answers_is_their_tenants_memory_over_http1_too() {
    // More of an answer than the kernel takes for a socket, and memory for two and an instance.
    const LARGE: usize = 9 << 20;
    let tenant = Tenant {
        name: "small".into(),
        total: TenantLimits { max_memory_bytes: 40 << 20, ..TenantLimits::default() },
    };
    let host = attacker()
        .route(|route| route.tenant = tenant)
        .limits(|limits| {
            limits.max_response_body_bytes = LARGE;
            limits.cpu_per_event = Duration::from_secs(10);
        })
        .start()
        .await;
    let is_refused =
        || host.logs().iter().any(|record| record.field("limit") == "max-memory-bytes of the tenant");
    let mut unread = Vec::new();
    while !is_refused() {
        assert!(unread.len() < 20, "20 answers of 9 MiB are held in 40 MiB");
        let mut raw = host.request(&answering(LARGE)).receive_buffer(4096).sent().await;
        raw.first_byte().await;
        unread.push(raw);
    }
    drop(unread);
    within("memory", async { while host.request(&answering(LARGE)).answer().await.status != 200 {} }).await;
}

#[tokio::test]
async fn an_answer_that_a_peer_does_not_take_ends_its_stream_and_no_other() {
    let identity = Identity::new(&["localhost"]);
    let host = attacker()
        .options(|options| options.handshake_timeout = Duration::from_secs(1))
        .tls(identity.certificates())
        .start()
        .await;
    // Nothing of an answer, or a part of it.
    for window in [0, 1000] {
        let mut raw =
            RawHttp2::connect(&identity, host.second_address(), &[(INITIAL_WINDOW_SIZE, window)]).await;
        ask(&mut raw, 1, "/websocket").await;
        // More than may be stuck, of one piece and of several.
        let mut unread = BTreeSet::new();
        for stream in (3..).step_by(2).take(20) {
            let bytes = if stream % 4 == 3 { 2000 } else { BODY_BYTES };
            ask(&mut raw, stream, &answering(bytes)).await;
            unread.insert(stream);
        }
        while !unread.is_empty() {
            let reset = raw.find(|frame| frame.kind == kind::RST_STREAM).await.expect("the socket stays");
            assert!(unread.remove(&reset.stream), "{reset:?}");
        }
        raw.send(Http2Frame::new(kind::PING, 0, 0, [7; 8])).await.expect("sent");
        assert!(raw.find(|frame| frame.kind == kind::PING && frame.flags == 1).await.is_some());
        let close = waterspout_tests::Frame::close(1000, "").masked();
        raw.send(Http2Frame::new(kind::DATA, 0, 1, close)).await.expect("sent");
        assert_eq!(host.connection_ends().await, "peer_closed", "the WebSocket beside it has gone on");
    }
}
