//! zlib's compressor and decompressor: made when first needed, and what they weigh.
//!
//! Where each message is compressed by itself nothing is kept between two messages: such a context goes back to a spare one of
//! its thread, so that thousands of connections need no more of them than there are threads.

use std::cell::RefCell;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

use crate::budget::{Budget, Reservation};
use crate::error::DeflateError;
use crate::settings::Compression;

/// What a flush ends with, and what a message on the wire goes without (RFC 7692 section 7.2.1): an empty stored block.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// zlib-rs's own state beside the buffers; with room to spare.
const STATE_BYTES: usize = 16 << 10;

impl Compression {
    /// What a compressor takes: the window twice, the chains through it, zlib-rs's hash table of 128 KiB, and the symbols that wait
    /// to become a block.
    pub fn compressor_bytes(self) -> usize {
        let window = 1 << self.window_bits.get();
        let symbols = 1 << (self.mem_level.get() + 6);
        2 * window + 2 * window + (128 << 10) + 7 * symbols + STATE_BYTES
    }

    fn config(self) -> DeflateConfig {
        DeflateConfig {
            level: i32::from(self.level.get()),
            mem_level: i32::from(self.mem_level.get()),
            // Negative: raw, without a zlib header.
            window_bits: -i32::from(self.window_bits.get()),
            ..DeflateConfig::default()
        }
    }
}

thread_local! {
    static SPARE_DEFLATE: RefCell<Option<(Compression, Deflate)>> = const { RefCell::new(None) };
    static SPARE_INFLATE: RefCell<Option<Inflate>> = const { RefCell::new(None) };
}

/// Bytes that grow as zlib fills them.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// All of it is initialized, so that room is zeroed once and not for each message.
    bytes: Vec<u8>,
    filled: usize,
}

impl Output {
    const FIRST: usize = 1 << 10;
    /// What is kept from one message to the next.
    const KEPT: usize = 4 << 10;
    /// With six bytes of room or less zlib may write a flush's marker twice (zlib.h, `deflate`).
    const ROOM: usize = 16;

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.filled]
    }

    fn push(&mut self, byte: u8) {
        self.room(usize::MAX)[0] = byte;
        self.filled += 1;
    }

    /// At least one byte and at most `most`, which must not be 0.
    fn room(&mut self, most: usize) -> &mut [u8] {
        if self.bytes.len() - self.filled < Self::ROOM {
            self.bytes.resize((2 * self.bytes.len()).max(Self::FIRST), 0);
        }
        let end = self.bytes.len().min(self.filled.saturating_add(most));
        &mut self.bytes[self.filled..end]
    }

    pub(crate) fn clear(&mut self) {
        self.filled = 0;
        if self.bytes.len() > Self::KEPT {
            self.bytes = Vec::new();
        }
    }
}

/// Compresses messages with one window.
pub(crate) struct Compressor {
    settings: Compression,
    deflate: Option<Deflate>,
    _reservation: Reservation,
}

impl Compressor {
    /// None if the budget has no room.
    pub(crate) fn new(settings: Compression, budget: &Budget) -> Option<Self> {
        let reservation = budget.reserve(settings.compressor_bytes())?;
        let spare = SPARE_DEFLATE.take().filter(|(spare, _)| *spare == settings);
        let deflate =
            spare.map_or_else(|| Deflate::new_with_config(settings.config()), |(_, deflate)| deflate);
        Some(Self { settings, deflate: Some(deflate), _reservation: reservation })
    }

    fn deflate(&mut self) -> &mut Deflate {
        self.deflate.as_mut().expect("only a drop takes it")
    }

    /// Forgets what was compressed: nothing that follows refers to it.
    pub(crate) fn reset(&mut self) {
        self.deflate().reset();
    }

    /// Compresses a part of a message.
    pub(crate) fn compress(&mut self, mut input: &[u8], output: &mut Output) {
        while !input.is_empty() {
            let (used, _) = self.step(input, output, DeflateFlush::NoFlush);
            input = &input[used..];
        }
    }

    /// Ends a frame: everything that was compressed is in `output`, and if the message ends here the tail is not.
    pub(crate) fn finish(&mut self, is_final: bool, output: &mut Output) {
        while self.step(&[], output, DeflateFlush::SyncFlush).1 {}
        if is_final {
            match output.filled().strip_suffix(&TAIL) {
                Some(kept) => output.filled = kept.len(),
                // There was nothing to flush: the frame still needs one octet (RFC 7692 section 7.2.3.6).
                None => output.push(0),
            }
        }
    }

    /// How many bytes were taken, and whether there is more to come without any.
    fn step(&mut self, input: &[u8], output: &mut Output, flush: DeflateFlush) -> (usize, bool) {
        let deflate = self.deflate();
        let before = (deflate.total_in(), deflate.total_out());
        let room = output.room(usize::MAX);
        let size = room.len();
        deflate
            .compress(input, room, flush)
            .expect("a compressor takes any bytes until it is told to finish");
        let used = (deflate.total_in() - before.0) as usize;
        let written = (deflate.total_out() - before.1) as usize;
        output.filled += written;
        (used, written == size)
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        if let Some(mut deflate) = self.deflate.take() {
            deflate.reset();
            let settings = self.settings;
            // Where the thread is ending there is nobody to keep it for.
            let _ = SPARE_DEFLATE.try_with(|spare| spare.replace(Some((settings, deflate))));
        }
    }
}

/// Inflates messages with one window.
pub(crate) struct Decompressor {
    inflate: SpareInflate,
    /// The last block of a stream has been read, and nothing since.
    ended: bool,
    reservation: Reservation,
}

/// Goes back to its thread when it is dropped.
struct SpareInflate(Option<Inflate>);

/// What stopped a decompressor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inflated {
    /// It has used all that it was given.
    All,
    /// There is no more room: it has used so much.
    Full(usize),
}

impl Decompressor {
    /// A window of 15 bits reads what was compressed with any.
    const WINDOW_BITS: u8 = 15;

    pub(crate) fn new(reservation: Reservation) -> Self {
        let inflate = SPARE_INFLATE.take().unwrap_or_else(|| Inflate::new(false, Self::WINDOW_BITS));
        Self { inflate: SpareInflate(Some(inflate)), ended: false, reservation }
    }

    /// The memory, for another one.
    pub(crate) fn into_reservation(self) -> Reservation {
        self.reservation
    }

    /// Inflates until `input` is used up or `output` holds `most` bytes.
    pub(crate) fn inflate(
        &mut self,
        input: &[u8],
        output: &mut Output,
        most: usize,
    ) -> Result<Inflated, DeflateError> {
        let inflate = self.inflate.0.as_mut().expect("only a drop takes it");
        let mut used = 0;
        loop {
            if output.filled >= most {
                return Ok(Inflated::Full(used));
            }
            let before = (inflate.total_in(), inflate.total_out());
            let room = output.room(most - output.filled);
            let size = room.len();
            let status = inflate
                .decompress(&input[used..], room, InflateFlush::SyncFlush)
                .map_err(|_| DeflateError::Corrupt)?;
            let taken = (inflate.total_in() - before.0) as usize;
            let written = (inflate.total_out() - before.1) as usize;
            used += taken;
            output.filled += written;
            self.ended = status == Status::StreamEnd || (self.ended && taken == 0);
            if status == Status::StreamEnd {
                // A block that says it is the last (RFC 7692 section 7.2.3.4): what follows is a stream of its own.
                inflate.reset(false);
            }
            if used == input.len() && (written < size || status == Status::StreamEnd) {
                return Ok(Inflated::All);
            }
            if taken == 0 && written == 0 {
                return Err(DeflateError::Corrupt);
            }
        }
    }

    /// What a message goes without on the wire, and is to be inflated at its end.
    pub(crate) fn tail(&self) -> &'static [u8] {
        if self.ended { &[] } else { &TAIL }
    }
}

impl Drop for SpareInflate {
    fn drop(&mut self) {
        if let Some(mut inflate) = self.0.take() {
            inflate.reset(false);
            let _ = SPARE_INFLATE.try_with(|spare| spare.replace(Some(inflate)));
        }
    }
}
