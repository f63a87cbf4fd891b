//! What is said where messages are compressed: lines of a chat as JSON, the same in every run and for every server.
//!
//! A short message is one line, a longer one an array of lines, as after "what did I miss". Names and keys repeat,
//! words repeat by how common they are, times and numbers hardly: about as compressible as what a browser sends.

use crate::random::Random;

/// The lines of an array are this long, all but the last, which fills the message.
const LINE_BYTES: std::ops::Range<usize> = 120..240;
/// Longer messages are an array.
const ONE_LINE_BYTES: usize = 360;

const ROOMS: [&str; 6] = ["lobby", "harbour", "weather", "random", "support", "release-planning"];
const USERS: [&str; 12] =
    ["mira", "jonas", "aiko", "thabo", "lucia", "piotr", "noor", "sam", "ingrid", "kofi", "yusuf", "chloe"];
/// Roughly from common to rare.
const WORDS: &str = "the to and of a in is it you that for on with this be have are not as at but we can so if \
    was what there just do they all about how when out up from one will would some then get now my your no or \
    think like know see time good morning today tomorrow really maybe should could please thanks yes still \
    work works working again here more than them who why where after before because need want make take look \
    right first last next week meeting server message connection deploy build test branch review merged wind \
    water tide boat harbour rain cloud forecast coffee lunch train ticket photo link document question answer \
    problem fixed broken slow fast memory update version release customer invoice deadline weekend holiday \
    compression window benchmark waterspout thunder pressure temperature schedule keyboard battery umbrella";

pub(crate) struct Chat {
    random: Random,
    words: Vec<&'static str>,
    /// The number of the last line.
    id: usize,
    /// When it was said, in milliseconds since midnight.
    at: usize,
}

impl Chat {
    pub(crate) fn new() -> Self {
        let words = WORDS.split_ascii_whitespace().collect();
        Self { random: Random::new(), words, id: 1_040_000, at: 29_000_000 }
    }

    /// The next message, of exactly so many bytes; one too short for a line is only words.
    pub(crate) fn message(&mut self, bytes: usize) -> String {
        if bytes <= ONE_LINE_BYTES {
            return self.line(bytes);
        }
        let mut message = String::with_capacity(bytes);
        message.push('[');
        loop {
            let left = bytes - message.len() - "]".len();
            if left <= ONE_LINE_BYTES {
                message += &self.line(left);
                message.push(']');
                return message;
            }
            let line_bytes = LINE_BYTES.start + self.random.below(LINE_BYTES.len());
            message += &self.line(line_bytes);
            message.push(',');
        }
    }

    fn line(&mut self, bytes: usize) -> String {
        const END: &str = "\"}";
        self.id += 1 + self.random.below(40);
        self.at = (self.at + 20 + self.random.below(30_000)) % 86_400_000;
        let (seconds, millis) = (self.at / 1000, self.at % 1000);
        let mut line = format!(
            "{{\"id\":{},\"at\":\"2026-02-03T{:02}:{:02}:{:02}.{millis:03}Z\",\"room\":\"{}\",\"user\":\"{}\",\"text\":\"",
            self.id,
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            ROOMS[self.random.below(ROOMS.len())],
            USERS[self.random.below(USERS.len())],
        );
        if line.len() + END.len() > bytes {
            line.clear();
            self.speak(&mut line, bytes);
        } else {
            self.speak(&mut line, bytes - END.len());
            line += END;
        }
        line
    }

    /// Adds words until `line` has exactly so many bytes.
    fn speak(&mut self, line: &mut String, bytes: usize) {
        while line.len() < bytes {
            // The product of two: common words are said often.
            let count = self.words.len();
            let word = self.random.below(count) * self.random.below(count) / count;
            *line += self.words[word];
            line.push(' ');
        }
        line.truncate(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_length_that_was_asked_for_and_is_ascii() {
        for bytes in [0, 1, 16, 100, 128, 359, 360, 361, 362, 363, 1024, 16_384] {
            let mut chat = Chat::new();
            for _ in 0..20 {
                let message = chat.message(bytes);
                assert_eq!(message.len(), bytes);
                assert!(message.is_ascii());
            }
        }
    }

    #[test]
    fn lines_stand_alone_or_in_an_array() {
        let mut chat = Chat::new();
        let line = chat.message(128);
        assert!(
            line.starts_with("{\"id\":10400") && line.contains("\",\"text\":\"") && line.ends_with("\"}")
        );
        let history = chat.message(1024);
        assert!(history.starts_with("[{\"id\":") && history.ends_with("\"}]"));
        assert!((4..=8).contains(&history.matches("},{\"id\":").count()), "{history}");
    }

    #[test]
    fn everyone_hears_the_same_and_nothing_twice() {
        let said = || {
            let mut chat = Chat::new();
            (0..600).map(|_| chat.message(128)).collect::<Vec<_>>()
        };
        assert_eq!(said(), said());
        assert_eq!(said().iter().collect::<std::collections::HashSet<_>>().len(), 600);
    }
}
