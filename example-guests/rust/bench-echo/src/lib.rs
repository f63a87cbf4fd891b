//! The echo that the benchmark measures: every message goes back as it came, text as text and binary as binary. It
//! copies, formats and prints nothing.

use waterspout_guest::{CompressionOptions, Connection, Error, Handler, Message};

#[derive(Default)]
struct BenchEcho;

impl Handler for BenchEcho {
    /// For those who offer it; the others' messages never meet a compressor.
    fn get_compression_options(&mut self) -> Option<CompressionOptions> {
        Some(CompressionOptions::default())
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        // Nothing is lost when many large messages are in flight: a full queue is waited for.
        while conn.write_message_ref(&message) == Err(Error::BufferFull) {
            if conn.flush().is_err() {
                return;
            }
        }
    }
}

waterspout_guest::export!(BenchEcho);
