//! A program: bytes of which each is a choice. Where they end every choice is 0.

/// What is left of a program.
#[derive(Clone, Default)]
pub(crate) struct Program(Vec<u8>);

impl Program {
    pub(crate) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.reverse();
        Self(bytes)
    }

    /// From hexadecimal digits; what is none is left out.
    pub(crate) fn from_hex(text: &str) -> Self {
        let digits: Vec<u8> =
            text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        Self::new(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.pop().unwrap_or(0)
    }

    pub(crate) fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number of any size; the first byte says how it is made.
    pub(crate) fn wide(&mut self) -> u32 {
        match self.byte() % 4 {
            0 => u32::from(self.byte()),
            1 => u32::from(self.number()),
            2 => u32::MAX - u32::from(self.byte()),
            _ => u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()]),
        }
    }

    pub(crate) fn option<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.bit().then(|| value(self))
    }

    /// So many of the next bytes as the first says.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let count = usize::from(self.byte());
        self.up_to(count)
    }

    pub(crate) fn up_to(&mut self, most: usize) -> Vec<u8> {
        let rest = self.0.len().saturating_sub(most);
        let mut taken = self.0.split_off(rest);
        taken.reverse();
        taken
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Text of a size that a limit may have.
    pub(crate) fn long_text(&mut self) -> String {
        if self.bit() { self.text() } else { "x".repeat(usize::from(self.number())) }
    }
}
