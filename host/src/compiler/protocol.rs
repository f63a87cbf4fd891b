//! What goes over the pipes, as bytes. Numbers are unsigned, least byte first.
//!
//! Request: `WSPCREQ1`, job (1), engine class (1), most bytes of an answer (8), bytes of the handler (8); the handler.
//!
//! Answer: `WSPCANS1`, how the child is confined (1), kind (1), bytes of the body (8); the body. Of a body only code may be long; a text is
//! cut by the child. The host takes nothing on trust: a wrong mark, kind, length or text ends the reading, and so does one byte too many.

use std::io::{self, Read, Write};

use super::confinement::Confinement;
use super::job::{Answer, Compiled, Description, Form, Job};
use crate::handler::engine::CodeClass;
use crate::handler::load_error::LoadError;
use crate::units::printable;

const REQUEST_MARK: [u8; 8] = *b"WSPCREQ1";
const REQUEST_HEAD_BYTES: usize = 8 + 1 + 1 + 8 + 8;
const ANSWER_MARK: [u8; 8] = *b"WSPCANS1";
const ANSWER_HEAD_BYTES: usize = 8 + 1 + 1 + 8;
/// The bit of an engine class whose code counts fuel.
const METERED: u8 = 1 << 4;
/// Of a refusal: a person reads it.
const MAX_REFUSAL_BYTES: usize = 4 << 10;
/// Of a description: every name that a component of the usual size could have.
const MAX_DESCRIPTION_BYTES: usize = 4 << 20;

/// What the child is asked.
pub(super) struct Request {
    pub(super) job: Job,
    /// More code than that it need not send.
    pub(super) max_artefact_bytes: usize,
    pub(super) handler: Vec<u8>,
}

impl Request {
    /// What goes before the handler's bytes.
    pub(super) fn head(job: Job, max_artefact_bytes: usize, handler_bytes: usize) -> Vec<u8> {
        let (job, class) = match job {
            Job::Describe => (0, 0),
            Job::Compile(class) => (1, class_byte(class)),
        };
        let mut head = REQUEST_MARK.to_vec();
        head.extend([job, class]);
        head.extend((max_artefact_bytes as u64).to_le_bytes());
        head.extend((handler_bytes as u64).to_le_bytes());
        debug_assert_eq!(head.len(), REQUEST_HEAD_BYTES);
        head
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// The pipe ends early (the host is gone), or what comes is no request.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; REQUEST_HEAD_BYTES];
        from.read_exact(&mut head)?;
        let none = || io::Error::other("that is no request");
        let mut fields = Fields(&head);
        let parse = |fields: &mut Fields<'_>| {
            (fields.take(8)? == REQUEST_MARK).then_some(())?;
            let job = match (fields.byte()?, fields.byte()?) {
                (0, 0) => Job::Describe,
                (1, byte) => {
                    Job::Compile(CodeClass::all().into_iter().find(|class| class_byte(*class) == byte)?)
                }
                _ => return None,
            };
            Some((job, fields.length()?, fields.length()?))
        };
        let (job, max_artefact_bytes, handler_bytes) = parse(&mut fields).ok_or_else(none)?;
        let mut handler = Vec::new();
        from.take(handler_bytes as u64).read_to_end(&mut handler)?;
        if handler.len() < handler_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { job, max_artefact_bytes, handler })
    }
}

fn class_byte(class: CodeClass) -> u8 {
    class.memory as u8 | if class.metered { METERED } else { 0 }
}

/// What a child says: an answer, or why there is none.
pub(super) type Said = Result<Answer, LoadError>;

/// The kinds of an answer.
mod kind {
    pub(super) const COMPILED: u8 = 0;
    pub(super) const DESCRIBED: u8 = 1;
    pub(super) const NOT_WASM: u8 = 2;
    pub(super) const TEXT: u8 = 3;
    pub(super) const CORE_MODULE: u8 = 4;
    pub(super) const COMPONENTIZE: u8 = 5;
    pub(super) const OTHER_WORLD: u8 = 6;
    pub(super) const COMPILE: u8 = 7;
    pub(super) const MEMORY: u8 = 8;
    pub(super) const ARTEFACT: u8 = 9;
    pub(super) const UNAVAILABLE: u8 = 10;
}

/// Writes an answer.
///
/// # Errors
/// Nobody reads it.
pub(super) fn write_answer(to: &mut impl Write, confinement: Confinement, said: &Said) -> io::Result<()> {
    let text = |kind, text: &str| (kind, cut(text).as_bytes().to_vec());
    let (kind, body) = match said {
        Ok(Answer::Compiled(compiled)) => {
            write_head(to, confinement, kind::COMPILED, compiled.as_bytes().len())?;
            to.write_all(compiled.as_bytes())?;
            return to.flush();
        }
        Ok(Answer::Described(description)) => match described(description) {
            body if body.len() <= MAX_DESCRIPTION_BYTES => (kind::DESCRIBED, body),
            _ => text(kind::COMPILE, "it imports and exports more than can be told"),
        },
        Err(LoadError::NotWasm(why)) => text(kind::NOT_WASM, why),
        Err(LoadError::Text(mistake)) => text(kind::TEXT, mistake),
        Err(LoadError::CoreModule) => text(kind::CORE_MODULE, ""),
        Err(LoadError::Componentize(why)) => text(kind::COMPONENTIZE, why),
        Err(LoadError::OtherWorld { exports }) => text(kind::OTHER_WORLD, exports),
        Err(LoadError::Compile(why)) => text(kind::COMPILE, why),
        Err(LoadError::CompileMemory { .. }) => text(kind::MEMORY, ""),
        Err(LoadError::ArtefactTooLarge { .. }) => text(kind::ARTEFACT, ""),
        Err(LoadError::CompilerUnavailable(why)) => text(kind::UNAVAILABLE, why),
        // A compiler has no others.
        Err(other) => text(kind::UNAVAILABLE, &other.to_string()),
    };
    write_head(to, confinement, kind, body.len())?;
    to.write_all(&body)?;
    to.flush()
}

fn write_head(to: &mut impl Write, confinement: Confinement, kind: u8, body_bytes: usize) -> io::Result<()> {
    to.write_all(&ANSWER_MARK)?;
    to.write_all(&[confinement as u8, kind])?;
    to.write_all(&(body_bytes as u64).to_le_bytes())
}

/// As much of a text as may be sent.
fn cut(text: &str) -> String {
    const CUT: &str = "...";
    if text.len() <= MAX_REFUSAL_BYTES {
        return text.to_owned();
    }
    format!("{}{CUT}", &text[..text.floor_char_boundary(MAX_REFUSAL_BYTES - CUT.len())])
}

fn described(description: &Description) -> Vec<u8> {
    let form = match description.form {
        Form::Component => 0,
        Form::CoreModule => 1,
        Form::Text => 2,
    };
    let mut body = vec![form];
    body.extend(description.bytes.to_le_bytes());
    for names in [&description.exports, &description.imports] {
        body.extend((names.len() as u64).to_le_bytes());
        for name in names {
            body.extend((name.len() as u64).to_le_bytes());
            body.extend(name.as_bytes());
        }
    }
    body
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsound {
    /// More code than there may be.
    TooLarge,
    /// Not an answer, and why.
    Malformed(&'static str),
}

/// An answer as it arrives.
pub(super) struct Incoming {
    max_artefact_bytes: usize,
    head: Vec<u8>,
    /// Kind, and how long the body is to be; once the head is there.
    body_of: Option<(Confinement, u8, usize)>,
    body: Vec<u8>,
}

impl Incoming {
    pub(super) fn new(max_artefact_bytes: usize) -> Self {
        Self { max_artefact_bytes, head: Vec::new(), body_of: None, body: Vec::new() }
    }

    /// Takes what has come. Never holds more than it may be.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Unsound> {
        let (_, _, body_bytes) = match self.body_of {
            Some(body_of) => body_of,
            None => {
                let missing = ANSWER_HEAD_BYTES - self.head.len();
                let of_head = bytes.split_off(..missing.min(bytes.len())).unwrap_or_default();
                self.head.extend(of_head);
                if self.head.len() < ANSWER_HEAD_BYTES {
                    return Ok(());
                }
                let body_of = self.parse_head()?;
                *self.body_of.insert(body_of)
            }
        };
        if bytes.len() > body_bytes - self.body.len() {
            return Err(Unsound::Malformed("it goes on after its end"));
        }
        self.body.extend(bytes);
        Ok(())
    }

    fn parse_head(&self) -> Result<(Confinement, u8, usize), Unsound> {
        let mut fields = Fields(&self.head);
        if fields.take(8) != Some(&ANSWER_MARK) {
            return Err(Unsound::Malformed("it does not begin as one"));
        }
        let (Some(confinement), Some(kind)) = (fields.byte().and_then(Confinement::from_byte), fields.byte())
        else {
            return Err(Unsound::Malformed("it does not say how the compiler is confined"));
        };
        let body_bytes = fields.length().ok_or(Unsound::TooLarge)?;
        match kind {
            kind::COMPILED if body_bytes > self.max_artefact_bytes.saturating_add(Compiled::FACTS_BYTES) => {
                Err(Unsound::TooLarge)
            }
            kind::COMPILED => Ok((confinement, kind, body_bytes)),
            kind::DESCRIBED if body_bytes <= MAX_DESCRIPTION_BYTES => Ok((confinement, kind, body_bytes)),
            _ if body_bytes <= MAX_REFUSAL_BYTES => Ok((confinement, kind, body_bytes)),
            _ => Err(Unsound::Malformed("it is too long")),
        }
    }

    /// What it says, now that no more comes; none if nothing came at all. A text's control characters are escaped.
    pub(super) fn finish(
        self,
        limits: &super::CompileLimits,
    ) -> Result<Option<(Confinement, Said)>, Unsound> {
        let Some((confinement, kind, body_bytes)) = self.body_of else {
            return if self.head.is_empty() { Ok(None) } else { Err(Unsound::Malformed("it is cut off")) };
        };
        if self.body.len() < body_bytes {
            return Err(Unsound::Malformed("it is cut off"));
        }
        let body = self.body;
        if kind == kind::COMPILED {
            let compiled = Compiled::from_bytes(body).ok_or(Unsound::Malformed("it is cut off"))?;
            return Ok(Some((confinement, Ok(Answer::Compiled(compiled)))));
        }
        if kind == kind::DESCRIBED {
            let description = parse_description(&body).ok_or(Unsound::Malformed("it describes nothing"))?;
            return Ok(Some((confinement, Ok(Answer::Described(description)))));
        }
        let text = printable(&body);
        let refusal = match kind {
            kind::NOT_WASM => {
                let whys = super::component::NOT_WASM;
                let why = whys.into_iter().find(|why| *why == text);
                LoadError::NotWasm(why.ok_or(Unsound::Malformed("it gives a reason that there is not"))?)
            }
            kind::TEXT => LoadError::Text(text),
            kind::CORE_MODULE => LoadError::CoreModule,
            kind::COMPONENTIZE => LoadError::Componentize(text),
            kind::OTHER_WORLD => LoadError::OtherWorld { exports: text },
            kind::COMPILE => LoadError::Compile(text),
            kind::MEMORY => LoadError::CompileMemory { limit: limits.max_memory_bytes },
            kind::ARTEFACT => LoadError::ArtefactTooLarge { limit: limits.max_artefact_bytes },
            kind::UNAVAILABLE => LoadError::CompilerUnavailable(text),
            _ => return Err(Unsound::Malformed("it is of no kind that there is")),
        };
        Ok(Some((confinement, Err(refusal))))
    }
}

fn parse_description(body: &[u8]) -> Option<Description> {
    let mut fields = Fields(body);
    let form = match fields.byte()? {
        0 => Form::Component,
        1 => Form::CoreModule,
        2 => Form::Text,
        _ => return None,
    };
    let bytes = fields.length()? as u64;
    let mut names = || {
        let count = fields.length()?;
        // Not reserved in advance: the number is a stranger's.
        let mut names = Vec::new();
        for _ in 0..count {
            let length = fields.length()?;
            names.push(printable(fields.take(length)?));
        }
        Some(names)
    };
    let (exports, imports) = (names()?, names()?);
    fields.0.is_empty().then_some(Description { form, bytes, exports, imports })
}

/// Reads fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        self.0.split_off(..bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.0.split_off_first().copied()
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.take(8)?.first_chunk()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::CompileLimits;

    const CONFINED: Confinement = Confinement::Full;

    fn answer(said: &Said) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_answer(&mut bytes, CONFINED, said).expect("memory takes it");
        bytes
    }

    fn compiled(bytes: usize) -> Said {
        Ok(Answer::Compiled(Compiled::from_bytes(vec![7; bytes]).expect("long enough")))
    }

    fn read(bytes: &[u8], max_artefact_bytes: usize) -> Result<Option<(Confinement, Said)>, Unsound> {
        let mut incoming = Incoming::new(max_artefact_bytes);
        for piece in bytes.chunks(5) {
            incoming.push(piece)?;
        }
        incoming.finish(&CompileLimits { max_artefact_bytes, ..CompileLimits::default() })
    }

    fn a_description() -> Description {
        Description {
            form: Form::CoreModule,
            bytes: 12,
            exports: vec!["a:b/c".into()],
            imports: vec!["d".into(), "".into()],
        }
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        for job in CodeClass::all().map(Job::Compile).into_iter().chain([Job::Describe]) {
            let bytes = [Request::head(job, 77, 3).as_slice(), b"abc, and what is not part of it"].concat();
            let request = Request::read(&mut bytes.as_slice()).expect("a request");
            assert_eq!((request.job, request.max_artefact_bytes), (job, 77));
            assert_eq!(request.handler, b"abc");
        }
    }

    #[test]
    fn a_request_that_is_cut_off_or_is_none_is_an_error() {
        let whole = [Request::head(Job::Describe, 0, 3).as_slice(), b"abc"].concat();
        for length in 0..whole.len() {
            assert!(Request::read(&mut &whole[..length]).is_err(), "{length} bytes");
        }
        for of_none in [[9, 0], [0, 1], [1, 3], [1, METERED | 3], [1, METERED << 1]] {
            let mut other = whole.clone();
            other[8..10].copy_from_slice(&of_none);
            assert!(Request::read(&mut other.as_slice()).is_err(), "{of_none:?}");
        }
    }

    #[test]
    fn every_answer_arrives_as_it_was_said() {
        let said: Vec<Said> = vec![
            compiled(1000),
            Ok(Answer::Described(a_description())),
            Err(LoadError::NotWasm(super::super::component::NOT_WASM[1])),
            Err(LoadError::Text("line 2".into())),
            Err(LoadError::CoreModule),
            Err(LoadError::Componentize("why".into())),
            Err(LoadError::OtherWorld { exports: "nothing".into() }),
            Err(LoadError::Compile("why".into())),
            Err(LoadError::CompileMemory { limit: CompileLimits::default().max_memory_bytes }),
            Err(LoadError::ArtefactTooLarge { limit: 1000 }),
            Err(LoadError::CompilerUnavailable("why".into())),
        ];
        for said in said {
            let (confinement, heard) = read(&answer(&said), 1000).expect("sound").expect("an answer");
            assert_eq!(confinement, CONFINED);
            assert_eq!(format!("{heard:?}"), format!("{said:?}"));
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_anywhere_is_none() {
        for said in
            [compiled(100), Ok(Answer::Described(a_description())), Err(LoadError::Text("line".into()))]
        {
            let whole = answer(&said);
            assert!(matches!(read(&[], 100), Ok(None)));
            for length in 1..whole.len() {
                assert!(read(&whole[..length], 100).is_err(), "{length} of {} bytes", whole.len());
            }
            assert!(read(&whole, 100).is_ok());
        }
    }

    #[test]
    fn code_may_be_as_large_as_the_limit_and_not_a_byte_larger() {
        let facts = Compiled::FACTS_BYTES;
        assert!(read(&answer(&compiled(facts + 100)), 100).is_ok());
        // Told from the head: not one byte of it is kept.
        let too_large = answer(&compiled(facts + 101));
        let mut incoming = Incoming::new(100);
        assert_eq!(incoming.push(&too_large[..ANSWER_HEAD_BYTES]), Err(Unsound::TooLarge));
        assert!(incoming.body.is_empty());
    }

    #[test]
    fn a_length_or_count_that_nothing_could_have_is_refused_without_room_for_it() {
        let mut endless = answer(&compiled(Compiled::FACTS_BYTES));
        endless[10..18].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(read(&endless, usize::MAX - 100), Err(Unsound::TooLarge)));
        let mut crowded = answer(&Ok(Answer::Described(a_description())));
        crowded[ANSWER_HEAD_BYTES + 9..ANSWER_HEAD_BYTES + 17].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(&crowded, 100).is_err());
        let mut long = answer(&Err(LoadError::Text("line".into())));
        long[10..18].copy_from_slice(&(MAX_REFUSAL_BYTES as u64 + 1).to_le_bytes());
        assert!(read(&long, 100).is_err());
    }

    #[test]
    fn garbage_and_what_goes_on_after_its_end_are_no_answers() {
        assert!(read(&[0; 100], 100).is_err());
        assert!(read(b"listening on ws://127.0.0.1:8888/websocket\n", 100).is_err());
        let more = [answer(&compiled(Compiled::FACTS_BYTES)), vec![0]].concat();
        assert!(matches!(read(&more, 100), Err(Unsound::Malformed(why)) if why.contains("after its end")));
        for (at, value) in [(8, 9), (9, 200)] {
            let mut other = answer(&Err(LoadError::CoreModule));
            other[at] = value;
            assert!(read(&other, 100).is_err());
        }
        let invented = answer(&Err(LoadError::NotWasm(" (send money)")));
        assert!(read(&invented, 100).is_err());
    }

    #[test]
    fn a_description_without_end_is_a_refusal() {
        let names = vec!["x".repeat(1 << 20); 4];
        let said = Ok(Answer::Described(Description { imports: names, ..a_description() }));
        let (_, said) = read(&answer(&said), 100).expect("sound").expect("an answer");
        assert!(said.expect_err("a refusal").to_string().contains("more than can be told"));
    }

    #[test]
    fn a_text_is_cut_and_cannot_steer_a_terminal() {
        let long = "é".repeat(MAX_REFUSAL_BYTES);
        let (_, said) =
            read(&answer(&Err(LoadError::Compile(long))), 100).expect("sound").expect("an answer");
        let text = said.expect_err("a refusal").to_string();
        assert!(text.ends_with("é...") && text.len() < MAX_REFUSAL_BYTES + 100);
        let (_, said) =
            read(&answer(&Err(LoadError::Compile("a\x1b[2J".into()))), 100).expect("sound").expect("one");
        assert!(!said.expect_err("a refusal").to_string().contains('\x1b'));
    }
}
