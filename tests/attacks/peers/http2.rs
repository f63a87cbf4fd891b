//! Streams and frames of HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use waterspout_tests::http2::{END_HEADERS, Http2Frame, RawHttp2, handshake_headers, kind};

use super::ECHO;
use crate::attack::Handler::Guest;
use crate::attack::Sign::Noted;
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, Running, WAITS, server};
use crate::field::{Field, clients};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "HTTP/2: rapid reset",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            http2(field, |mut peer, _| async move {
                let headers = handshake_headers("/attack");
                for stream in (1..2001).step_by(2) {
                    let open = Http2Frame::new(kind::HEADERS, END_HEADERS, stream, headers.clone()).bytes();
                    let reset = Http2Frame::new(kind::RST_STREAM, 0, stream, 8_u32.to_be_bytes()).bytes();
                    if peer.send_bytes(&[open, reset].concat()).await.is_err() {
                        break;
                    }
                }
                peer
            })
        },
        seen: &[Noted("ended")],
        without: Rule("more than 100 requests that are taken back end the socket"),
    },
    Attack {
        name: "HTTP/2: a CONTINUATION flood",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            http2(field, |mut peer, _| async move {
                let headers = handshake_headers("/attack");
                let mut sent = peer.send(Http2Frame::new(kind::HEADERS, 0, 1, headers)).await;
                let part = waterspout_tests::http2::literals(&[("x-flood", &"x".repeat(100))]).repeat(20);
                for _ in 0..10_000 {
                    if sent.is_err() {
                        break;
                    }
                    sent = peer.send(Http2Frame::new(kind::CONTINUATION, 0, 1, part.clone())).await;
                }
                peer
            })
        },
        seen: &[Noted("ended")],
        without: Rule("a head has at most 16 KiB"),
    },
    Attack {
        name: "HTTP/2: a SETTINGS flood",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            http2(field, |mut peer, field| async move {
                let many = Http2Frame::new(kind::SETTINGS, 0, 0, Vec::new()).bytes().repeat(500);
                while let Ok(Ok(())) =
                    tokio::time::timeout(Duration::from_millis(500), peer.send_bytes(&many)).await
                {
                    field.note("500 SETTINGS");
                }
                field.note("not read any more");
                peer
            })
        },
        seen: &[Noted("not read any more")],
        without: Rule("who does not read the answers is not read"),
    },
    Attack {
        name: "HTTP/2: a WINDOW_UPDATE flood on many sockets",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            many_http2(field, 50, |mut peer, field| async move {
                let update = Http2Frame::new(kind::WINDOW_UPDATE, 0, 0, 1_u32.to_be_bytes());
                let many = update.bytes().repeat(5000);
                while peer.send_bytes(&many).await.is_ok() {
                    field.note("5,000 WINDOW_UPDATEs");
                }
                peer
            })
        },
        seen: &[Noted("5,000 WINDOW_UPDATEs")],
        without: Rule("who is nobody's yet has an account of his own, and is read a little at a time"),
    },
    Attack {
        name: "HTTP/2: thousands of streams on one socket, with zero windows",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            http2(field, |mut peer, field| async move {
                let headers = handshake_headers("/attack");
                for stream in (1..6001).step_by(2) {
                    let open = Http2Frame::new(kind::HEADERS, END_HEADERS, stream, headers.clone());
                    if peer.send(open).await.is_err() {
                        break;
                    }
                }
                if peer.find(|frame| frame.kind == kind::RST_STREAM).await.is_some() {
                    field.note("a stream is refused");
                }
                peer
            })
        },
        seen: &[Noted("a stream is refused")],
        without: Rule("a socket has at most 100 streams"),
    },
    Attack {
        name: "HTTP/2: leave answers unread, with zero windows, beside a WebSocket",
        handler: Guest("attacker"),
        settings: &[server("handshake-timeout", "\"500ms\"")],
        assault: |field| {
            http2(field, |mut peer, field| async move {
                for stream in (1..120).step_by(2) {
                    let path = if stream == 1 { "/attack" } else { "/attack?at=prepare&do=answer+65536" };
                    let open = Http2Frame::new(kind::HEADERS, END_HEADERS, stream, handshake_headers(path));
                    if peer.send(open).await.is_err() {
                        break;
                    }
                }
                if peer.find(|frame| frame.kind == kind::RST_STREAM).await.is_some() {
                    field.note("an answer is given up");
                }
                peer
            })
        },
        seen: &[Noted("an answer is given up")],
        without: Limit(&[server("handshake-timeout", "\"1h\"")], WAITS),
    },
];

/// Two sockets over TLS whose peers flood, then read to the end; their windows are closed.
fn http2<F>(field: Arc<Field>, act: fn(RawHttp2, Arc<Field>) -> F) -> Running
where
    F: Future<Output = RawHttp2> + Send + 'static,
{
    many_http2(field, 2, act)
}

fn many_http2<F>(field: Arc<Field>, count: u32, act: fn(RawHttp2, Arc<Field>) -> F) -> Running
where
    F: Future<Output = RawHttp2> + Send + 'static,
{
    clients(field, count, move |field, _| async move {
        /// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 section 6.5.2).
        const INITIAL_WINDOW_SIZE: u16 = 4;
        let settings = [(INITIAL_WINDOW_SIZE, 0)];
        let peer = RawHttp2::connect(&field.identity, field.tls, &settings).await;
        let mut peer = act(peer, field.clone()).await;
        if let Ok(code) = tokio::time::timeout(Duration::from_secs(2), peer.ends()).await {
            field.note(format!("ended: GOAWAY {code:?}"));
        }
    })
}
