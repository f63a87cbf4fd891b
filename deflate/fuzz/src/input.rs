//! Choices, made by the bytes that are fuzzed. Where they end every choice is 0.

use tungstenite::protocol::Role;
use tungstenite_deflate::{Agreed, Level, MemLevel, Settings, WindowBits};

pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    pub(crate) fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Up to 65535.
    pub(crate) fn number(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    pub(crate) fn up_to(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn role(&mut self) -> Role {
        if self.bit() { Role::Server } else { Role::Client }
    }

    pub(crate) fn window(&mut self) -> WindowBits {
        WindowBits::try_from(9 + self.byte() % 7).expect("9 to 15")
    }

    pub(crate) fn agreed(&mut self) -> Agreed {
        Agreed {
            server_no_context_takeover: self.bit(),
            client_no_context_takeover: self.bit(),
            server_max_window_bits: self.window(),
            client_max_window_bits: self.window(),
        }
    }

    pub(crate) fn settings(&mut self) -> Settings {
        let agreed = self.agreed();
        Settings {
            level: Level::try_from(self.byte() % 10).expect("0 to 9"),
            mem_level: MemLevel::try_from(1 + self.byte() % 9).expect("1 to 9"),
            threshold: if self.bit() { None } else { Some(usize::from(self.byte())) },
            server_no_context_takeover: agreed.server_no_context_takeover,
            client_no_context_takeover: agreed.client_no_context_takeover,
            server_max_window_bits: agreed.server_max_window_bits,
            client_max_window_bits: agreed.client_max_window_bits,
            ..Settings::default()
        }
    }
}
