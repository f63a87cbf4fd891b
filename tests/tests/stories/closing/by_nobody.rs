//! Nobody closes: the peer has vanished.

use waterspout_tests::frames::Frame;

use super::witnessed;
use crate::probe::probe;
use crate::witness::{Witness, reporting};

#[tokio::test]
async fn a_peer_that_ends_without_a_close_frame_has_vanished() {
    let (host, mut witness, mut raw) = witnessed(&[]).await;
    raw.finish().await;
    raw.ends().await;
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "vanished");
}

#[tokio::test]
async fn a_peer_that_resets_the_connection_has_vanished() {
    let (host, mut witness, raw) = witnessed(&[]).await;
    raw.reset();
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "vanished");
}

#[tokio::test]
async fn a_peer_that_vanishes_while_the_handler_is_busy_is_noticed_after_it() {
    let (_host, mut witness, mut raw) = witnessed(&[("message", "sleep 100")]).await;
    raw.send(Frame::text("work")).await;
    witness.sees(["1 on-message text work"]).await;
    raw.reset();
    witness.sees(["1 on-close none", "1 drop"]).await;
}

#[tokio::test]
async fn a_peer_that_vanishes_after_our_close_gave_no_answer() {
    let (_host, mut witness, mut raw) = witnessed(&[("message", "close 4000")]).await;
    raw.send(Frame::text("go")).await;
    raw.close_frame().await;
    raw.finish().await;
    witness.sees(["1 on-message text go", "1 on-close none", "1 drop"]).await;
}

#[tokio::test]
async fn a_flush_that_waits_ends_with_closed_when_the_peer_leaves() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let commands = [("open", "write 200 x 64KiB"), ("open", "flush")];
    let (_, raw) = host.request(&reporting(&commands)).receive_buffer(4 << 10).upgrade().await;
    witness.sees_open().await;
    witness.sees(["1 open: write 200 x 64KiB = wrote 200: ok"]).await;
    raw.reset();
    witness.sees(["1 open: flush = closed", "1 on-close none", "1 drop"]).await;
}

#[tokio::test]
async fn a_flush_that_waits_ends_with_closed_when_the_peer_closes() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let commands = [("open", "write 200 x 64KiB"), ("open", "flush")];
    let (_, mut raw) = host.request(&reporting(&commands)).receive_buffer(4 << 10).upgrade().await;
    witness.sees_open().await;
    witness.sees(["1 open: write 200 x 64KiB = wrote 200: ok"]).await;
    raw.send(Frame::close(1000, "")).await;
    witness.sees(["1 open: flush = closed", "1 on-close 1000", "1 drop"]).await;
}
