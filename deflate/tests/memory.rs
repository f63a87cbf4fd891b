//! What the layer takes from the heap, by an allocator that counts: each test for its own thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Cursor};
use std::panic::resume_unwind;
use std::thread;

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Join};
use tokio::runtime::Builder;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite_deflate::{
    Agreed, Compression, DECOMPRESSOR_BYTES, DeflateError, DeflateStream, Level, MemLevel, Settings,
    WindowBits, ready_made,
};

const GIGABYTE: usize = 1 << 30;
/// What decoding takes beside a decompressor, however large a message may be: what one piece of 512 bytes from the wire can become
/// (a thousand times as much) in a buffer that grows by doubling, and a fragment of 64 KiB in another.
const BUFFERS: usize = 2 << 20;
/// What buffers a connection keeps between two messages.
const KEPT_BYTES: isize = 16 << 10;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Of one thread.
#[derive(Debug, Clone, Copy)]
struct Heap {
    live: isize,
    /// The most since it was last reset.
    peak: isize,
    allocations: usize,
}

thread_local! {
    static HEAP: Cell<Heap> = const { Cell::new(Heap { live: 0, peak: 0, allocations: 0 }) };
}

impl Heap {
    fn changed(bytes: isize) {
        let mut heap = HEAP.get();
        heap.live += bytes;
        heap.peak = heap.peak.max(heap.live);
        heap.allocations += usize::from(bytes > 0);
        HEAP.set(heap);
    }

    /// How far `work` went beyond what was there before it.
    fn growth<T>(work: impl FnOnce() -> T) -> (T, Growth) {
        let before = Self { peak: HEAP.get().live, ..HEAP.get() };
        HEAP.set(before);
        let result = work();
        let after = HEAP.get();
        let growth = Growth {
            left: after.live - before.live,
            peak: usize::try_from(after.peak - before.live).expect("a peak is no less than the start"),
            allocations: after.allocations - before.allocations,
        };
        (result, growth)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Growth {
    /// At the end.
    left: isize,
    peak: usize,
    allocations: usize,
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one hands everything to the system's")]
// SAFETY: everything is the system allocator's; counting touches no memory but the thread's own, without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Heap::changed(layout.size().cast_signed());
        // SAFETY: as our caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Heap::changed(-layout.size().cast_signed());
        // SAFETY: as our caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const AGREED: Agreed = Agreed {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: WindowBits::MAX,
    client_max_window_bits: WindowBits::MAX,
};
const NO_TAKEOVER: Agreed =
    Agreed { server_no_context_takeover: true, client_no_context_takeover: true, ..AGREED };

/// A socket: what is read from it, and what was written to it.
type Memory<'a> = Join<&'a [u8], Vec<u8>>;

fn block_on<F: Future>(future: F) -> F::Output {
    Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn stream<'a>(role: Role, agreed: &Agreed, settings: &Settings, wire: &'a [u8]) -> DeflateStream<Memory<'a>> {
    DeflateStream::new(tokio::io::join(wire, Vec::new()), role, agreed, settings)
}

/// The payload of a message of so many zeroes, compressed.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut stream = stream(Role::Server, &AGREED, &Settings::default(), &[]);
    block_on(async {
        stream.write_all(&[0x82, 127]).await?;
        stream.write_all(&(bytes as u64).to_be_bytes()).await?;
        let zeroes = vec![0; 1 << 20];
        for _ in 0..bytes >> 20 {
            stream.write_all(&zeroes).await?;
        }
        stream.flush().await
    })
    .expect("a vector takes everything");
    let wire = stream.into_inner().into_inner().1;
    let mut frame = Cursor::new(&wire);
    let header = FrameHeader::parse(&mut frame).expect("a frame");
    assert!(header.is_some_and(|(header, _)| header.rsv1));
    wire[frame.position() as usize..].to_vec()
}

/// A compressed message in frames of at most so many bytes, as the other side of `role` sends it. The masking key is 0.
fn framed(payload: &[u8], role: Role, most: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    let last = payload.len().div_ceil(most) - 1;
    for (index, fragment) in payload.chunks(most).enumerate() {
        let header = FrameHeader {
            is_final: index == last,
            rsv1: index == 0,
            opcode: OpCode::Data(if index == 0 { Data::Binary } else { Data::Continue }),
            mask: (role == Role::Server).then_some([0; 4]),
            ..FrameHeader::default()
        };
        header.format(fragment.len() as u64, &mut wire).expect("a vector takes everything");
        wire.extend_from_slice(fragment);
    }
    wire
}

/// Reads and forgets what can be read; the error that it ends with.
fn drain(mut stream: DeflateStream<Memory<'_>>) -> io::Error {
    let mut buffer = [0; 4096];
    block_on(async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(count) => assert_ne!(count, 0, "the end, and no error before it"),
                Err(error) => return error,
            }
        }
    })
}

/// On a thread of its own, where no context is left by an earlier connection.
fn fresh<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

#[test]
fn a_gigabyte_in_a_megabyte_takes_no_more_than_the_limit() {
    let payload = bomb(GIGABYTE);
    assert!(payload.len() < (11 << 20) / 10, "{} bytes", payload.len());
    for role in [Role::Client, Role::Server] {
        for most in [500, usize::MAX] {
            let wire = framed(&payload, role, most);
            for limit in [0, 1 << 10, 1 << 16, 1 << 20, 64 << 20] {
                let settings = Settings { max_message_bytes: limit, ..Settings::default() };
                let (error, growth) =
                    fresh(|| Heap::growth(|| drain(stream(role, &AGREED, &settings, &wire))));
                let expected = DeflateError::MessageTooBig { limit };
                assert_eq!(DeflateError::in_io_error(&error), Some(expected));
                let most = DECOMPRESSOR_BYTES + BUFFERS.min(3 * limit + (8 << 10));
                assert!(growth.peak <= most, "{growth:?} with a limit of {limit}: more than {most}");
            }
        }
    }
}

#[test]
fn tungstenite_above_it_gathers_no_more_than_the_limit() {
    let limit = 4 << 20;
    let wire = framed(&bomb(GIGABYTE / 8), Role::Client, 500);
    let settings = Settings { max_message_bytes: limit, ..Settings::default() };
    let (read, growth) = Heap::growth(|| {
        block_on(async {
            let stream = stream(Role::Client, &AGREED, &settings, &wire);
            WebSocketStream::from_raw_socket(stream, Role::Client, None).await.next().await
        })
    });
    let Some(Err(tungstenite::Error::Io(error))) = read else { panic!("{read:?}") };
    assert_eq!(DeflateError::in_io_error(&error), Some(DeflateError::MessageTooBig { limit }));
    // A vector that grows by doubling is there twice while it is moved.
    assert!(growth.peak <= 3 * limit + DECOMPRESSOR_BYTES + BUFFERS, "{growth:?}");
}

#[test]
fn a_connection_that_has_not_compressed_yet_has_nothing_on_the_heap() {
    let settings = Settings::default();
    let (stream, growth) = Heap::growth(|| stream(Role::Server, &AGREED, &settings, &[]));
    assert_eq!(growth, Growth { left: 0, peak: 0, allocations: 0 });
    assert!(size_of_val(&stream) <= 1 << 10, "{} bytes", size_of_val(&stream));
}

/// What is left on the heap after a message of so many bytes has come, and another has gone.
fn left_by_an_echo(agreed: &Agreed, bytes: u16) -> isize {
    let settings = Settings::default();
    let zeroes = vec![0; usize::from(bytes)];
    let plain = [&[0x82, 126][..], &bytes.to_be_bytes(), &zeroes].concat();
    let masked = [&[0x82, 0xfe][..], &bytes.to_be_bytes(), &[0; 4], &zeroes].concat();
    // Compressed elsewhere, so that nothing is left of that here.
    let wire = fresh(|| {
        let mut stream = stream(Role::Server, agreed, &settings, &[]);
        block_on(async {
            stream.write_all(&plain).await?;
            stream.flush().await
        })
        .expect("a vector takes everything");
        stream.into_inner().into_inner().1
    });
    let mut read = vec![0; plain.len()];
    let (_stream, growth) = Heap::growth(|| {
        // What is written goes nowhere, so that a vector is not counted.
        let socket = tokio::io::join(&wire[..], tokio::io::sink());
        let mut stream = DeflateStream::new(socket, Role::Client, agreed, &settings);
        block_on(async {
            stream.read_exact(&mut read).await?;
            stream.write_all(&masked).await?;
            stream.flush().await
        })
        .expect("it is all there");
        stream
    });
    assert_eq!(read, plain);
    growth.left
}

#[test]
fn contexts_come_with_the_first_compressed_message() {
    let compressor = AGREED.compression(Role::Client, &Settings::default()).compressor_bytes();
    let contexts = (compressor + DECOMPRESSOR_BYTES).cast_signed();
    let plain = fresh(|| left_by_an_echo(&NO_TAKEOVER, 255));
    assert!(plain <= KEPT_BYTES, "{plain} bytes without compression");
    let compressed = fresh(|| left_by_an_echo(&AGREED, 10_000));
    assert!(compressed >= contexts * 9 / 10, "{compressed} bytes for {contexts} of contexts");
    assert!(compressed <= contexts + KEPT_BYTES, "{compressed} bytes for {contexts} of contexts");
}

#[test]
fn connections_without_takeover_share_the_contexts_of_their_thread() {
    let (first, second) =
        fresh(|| (left_by_an_echo(&NO_TAKEOVER, 10_000), left_by_an_echo(&NO_TAKEOVER, 10_000)));
    assert!(first > KEPT_BYTES, "{first} bytes");
    assert!(second <= KEPT_BYTES, "{second} bytes");
}

#[test]
fn a_compressor_takes_no_more_than_is_said_and_not_much_less() {
    for window_bits in 9..=15 {
        for mem_level in 1..=9 {
            let compression = Compression {
                level: Level::default(),
                mem_level: MemLevel::try_from(mem_level).expect("1 to 9"),
                window_bits: WindowBits::try_from(window_bits).expect("9 to 15"),
            };
            // The message is gone; its compressor waits for the thread's next.
            let (_, growth) =
                fresh(|| Heap::growth(|| drop(ready_made(&Message::text("Hello"), compression))));
            let (said, taken) = (compression.compressor_bytes().cast_signed(), growth.left);
            assert!(taken <= said && said <= taken * 12 / 10, "{taken} bytes of {said}: {compression:?}");
        }
    }
}

#[test]
fn the_readmes_figures_are_these() {
    let readme = include_str!("../README.md");
    for window_bits in [9, 11, 13, 15] {
        let mut row = format!("| {window_bits} |");
        for mem_level in [1, 5, 8] {
            let compression = Compression {
                level: Level::default(),
                mem_level: MemLevel::try_from(mem_level).expect("1 to 9"),
                window_bits: WindowBits::try_from(window_bits).expect("9 to 15"),
            };
            row += &format!(" {} KiB |", compression.compressor_bytes().div_ceil(1 << 10));
        }
        assert!(readme.contains(&row), "{row}");
    }
    assert!(readme.contains(&format!("A decompressor takes {} KiB", DECOMPRESSOR_BYTES >> 10)));
    assert!(readme.contains(&format!("at most {} MiB more", BUFFERS >> 20)));
}

#[test]
fn a_decompressor_takes_no_more_than_is_said_and_not_much_less() {
    let wire = framed(&bomb(1 << 20), Role::Client, usize::MAX);
    let settings = Settings { max_message_bytes: 1 << 19, ..Settings::default() };
    let (_, growth) = fresh(|| Heap::growth(|| drop(drain(stream(Role::Client, &AGREED, &settings, &wire)))));
    let (said, taken) = (DECOMPRESSOR_BYTES.cast_signed(), growth.left);
    assert!(taken <= said && said <= taken * 12 / 10, "{taken} bytes of {said}");
}
