//! Any messages, from one layer to another in the opposite role.

use tungstenite::Message;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite_deflate::{DeflateStream, Settings, ready_made};

use super::frames::Legal;
use super::input::Input;
use super::socket::{Pieces, flush, read_all, write_all};

/// With so much nothing is added.
const MOST_BYTES: usize = 1 << 20;
/// Each is flushed, which takes a few bytes on the wire; the decoder accepts a kilobyte of that.
const MOST_FRAGMENTS: u8 = 4;

/// What is written as tungstenite would, and what must come out.
struct Sender {
    role: Role,
    plain: Vec<u8>,
    messages: Vec<(u8, Vec<u8>)>,
    controls: Vec<(u8, Vec<u8>)>,
}

impl Sender {
    fn frame(&mut self, header: FrameHeader, payload: &[u8], input: &mut Input<'_>) {
        let mask = (self.role == Role::Client).then(|| [input.byte(), 0xaa, input.byte(), 0]);
        let header = FrameHeader { mask, ..header };
        header.format(payload.len() as u64, &mut self.plain).expect("a vector takes everything");
        let key = mask.unwrap_or_default();
        self.plain.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }

    fn ping(&mut self, input: &mut Input<'_>) {
        let length = usize::from(input.byte() % 126);
        let payload = input.up_to(length);
        let header = FrameHeader { opcode: OpCode::Control(Control::Ping), ..FrameHeader::default() };
        self.frame(header, payload, input);
        self.controls.push((9, payload.to_vec()));
    }

    fn message(&mut self, opcode: Data, payload: Vec<u8>, input: &mut Input<'_>) {
        let last = input.byte() % MOST_FRAGMENTS;
        let mut rest = &payload[..];
        for index in 0..=last {
            let is_final = index == last;
            let length = if is_final { rest.len() } else { input.number().min(rest.len()) };
            let (fragment, after) = rest.split_at(length);
            rest = after;
            let opcode = OpCode::Data(if index == 0 { opcode } else { Data::Continue });
            self.frame(FrameHeader { is_final, opcode, ..FrameHeader::default() }, fragment, input);
            if !is_final && input.bit() {
                self.ping(input);
            }
        }
        self.messages.push((OpCode::Data(opcode).into(), payload));
    }
}

/// Some bytes, as they are or over and over.
fn payload(input: &mut Input<'_>) -> Vec<u8> {
    let length = usize::from(input.byte());
    let pattern = input.up_to(length);
    match input.byte() % 3 {
        0 => pattern.to_vec(),
        1 => pattern.repeat(4 * usize::from(input.byte())),
        // Periods of any length, which zlib finds nothing in.
        _ => {
            let mut state = 0x9e37_79b9_u32;
            let random = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state as u8
            });
            let period: Vec<u8> = pattern.iter().copied().chain(random).take(1 + input.number()).collect();
            let length = 2 * input.number();
            period.into_iter().cycle().take(length).collect()
        }
    }
}

/// See the module.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let role = input.role();
    let agreed = input.agreed();
    let settings = input.settings();
    let sizes = usize::from(input.byte() % 8);
    let sizes = input.up_to(sizes);
    let mut sender = Sender { role, plain: Vec::new(), messages: Vec::new(), controls: Vec::new() };
    while !input.is_empty() && sender.plain.len() < MOST_BYTES {
        match input.byte() % 5 {
            0 => sender.ping(&mut input),
            1 => {
                let message = Message::binary(payload(&mut input));
                let ready = ready_made(&message, agreed.compression(role, &settings));
                let Message::Frame(frame) = ready else { panic!("{ready:?}") };
                sender.frame(frame.header().clone(), frame.payload(), &mut input);
                sender.messages.push((2, message.into_data().into()));
            }
            2 => {
                let text = payload(&mut input);
                sender.message(Data::Text, text, &mut input);
            }
            _ => {
                let bytes = payload(&mut input);
                sender.message(Data::Binary, bytes, &mut input);
            }
        }
    }

    let mut writer = DeflateStream::new(Pieces::new(&[], sizes), role, &agreed, &settings);
    write_all(&mut writer, &sender.plain);
    flush(&mut writer);
    let wire = writer.into_inner().written;
    // Exactly enough.
    let most = sender.messages.iter().map(|(_, message)| message.len()).max().unwrap_or_default();
    let settings = Settings { max_message_bytes: most, ..settings };
    let peer = match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    let (output, error) = read_all(DeflateStream::new(Pieces::new(&wire, sizes), peer, &agreed, &settings));
    assert!(error.is_none(), "{error:?}");

    let mut frames = Legal::new(&output, peer, false);
    let (mut messages, mut controls) = (Vec::<(u8, Vec<u8>)>::new(), Vec::new());
    for frame in &mut frames {
        assert!(frame.is_complete, "half a frame");
        match frame.opcode {
            0 => messages.last_mut().expect("a message").1.extend(frame.unmasked()),
            1 | 2 => messages.push((frame.opcode, frame.unmasked())),
            _ => controls.push((frame.opcode, frame.unmasked())),
        }
    }
    assert!(frames.rest.is_empty(), "{:x?} is not legal", frames.rest);
    assert!(messages == sender.messages, "messages differ");
    assert_eq!(controls, sender.controls);
}
