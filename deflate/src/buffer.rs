//! Bytes on their way from one side to the other.

use std::io;

/// Bytes that are written at the end and read at the beginning. An empty one is small, however much went through it.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Read already.
    start: usize,
}

impl Buffer {
    /// What is kept of an empty one.
    const KEPT: usize = 4 << 10;

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn advance(&mut self, length: usize) {
        self.start += length;
        if self.is_empty() {
            self.start = 0;
            if self.bytes.capacity() > Self::KEPT {
                self.bytes = Vec::new();
            } else {
                self.bytes.clear();
            }
        }
    }
}

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_in_which_they_went_in() {
        let mut buffer = Buffer::default();
        let mut read = Vec::new();
        for round in 0..100_u8 {
            buffer.push(&[round; 7]);
            let length = buffer.len().min(5);
            read.extend_from_slice(&buffer.unread()[..length]);
            buffer.advance(length);
        }
        read.extend_from_slice(buffer.unread());
        assert_eq!(read, (0..100).flat_map(|round| [round; 7]).collect::<Vec<u8>>());
    }

    #[test]
    fn an_empty_one_has_given_its_memory_back() {
        let mut buffer = Buffer::default();
        buffer.push(&[1; 1 << 20]);
        buffer.advance((1 << 20) - 1);
        buffer.advance(1);
        assert!(buffer.bytes.capacity() <= Buffer::KEPT);
    }
}
