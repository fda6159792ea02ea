//! Codec: the frames of a recording as they are read. One that was cut off by the death of its process reads up to there.

use super::fields::{Field, Source};
use super::tape::{CALL, CHECK, END, FORMAT, MAGIC, START};
use super::{Call, Ending, TraceHash};
use crate::base::Instant;
use crate::engine::{EngineError, EngineStart};
use core::time::Duration;

/// What stands in a recording.
#[derive(Debug)]
#[non_exhaustive]
pub enum Frame {
    /// The engine starts; always the first.
    Start {
        /// The version of the program that recorded.
        version: String,
        /// When.
        now: Instant,
        /// On what.
        start: Box<EngineStart>,
    },
    /// The engine is called.
    Call {
        /// How long after the frame before.
        after: Duration,
        /// How.
        call: Call,
    },
    /// All outputs up to here were these.
    Check(TraceHash),
    /// The recording is complete.
    End(Ending),
}

/// Reads a recording frame by frame.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    source: Source<'a>,
}

impl<'a> Reader<'a> {
    /// A reader of a whole file.
    ///
    /// # Errors
    ///
    /// [`RecordingError::NotARecording`] or [`RecordingError::NewerVersion`].
    pub fn new(file: &'a [u8]) -> Result<Self, RecordingError> {
        let mut source = Source::new(file.strip_prefix(MAGIC).ok_or(RecordingError::NotARecording)?);
        match u32::take(&mut source)? {
            FORMAT => Ok(Self { source }),
            found => Err(RecordingError::NewerVersion(found)),
        }
    }

    /// The next frame; `None` at the end, and where the file was cut off.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, RecordingError> {
        let Ok(len) = self.source.count() else { return Ok(None) };
        let Ok(body) = self.source.bytes(len) else { return Ok(None) };
        let mut body = Source::new(body);
        let frame = Frame::take(&mut body)?;
        if body.len() > 0 { Err(RecordingError::Trailing) } else { Ok(Some(frame)) }
    }
}

impl Frame {
    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        Ok(match from.octet()? {
            START => Self::Start {
                version: Field::take(from)?,
                now: Instant::from_nanos(Field::take(from)?),
                start: Field::take(from)?,
            },
            CALL => {
                Self::Call { after: Duration::from_nanos(Field::take(from)?), call: Call::take_any(from)? }
            }
            CHECK => Self::Check(TraceHash { outputs: Field::take(from)?, hash: Field::take(from)? }),
            END => Self::End(match from.octet()? {
                0 => Ending::Closed,
                1 => Ending::Stopped,
                2 => Ending::Full,
                _ => return Err(RecordingError::Choice("ending")),
            }),
            _ => return Err(RecordingError::Choice("frame")),
        })
    }
}

/// Why a recording cannot be read or repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// It does not begin like one.
    #[error("not a recording of gosh-dl")]
    NotARecording,
    /// It was written in another version of the format.
    #[error("a recording of format version {0}; this program reads version {FORMAT}")]
    NewerVersion(u32),
    /// A value is longer than what there is of it.
    #[error("damaged: a value ends too soon")]
    Short,
    /// There is more in a frame than belongs there.
    #[error("damaged: a frame is too long")]
    Trailing,
    /// A number is out of its range.
    #[error("damaged: a number is out of range")]
    Number,
    /// A text is not UTF-8.
    #[error("damaged: a text is not UTF-8")]
    Text,
    /// A choice that there is none of.
    #[error("damaged: no such {0}")]
    Choice(&'static str),
    /// It does not begin with the start of an engine, or that comes again.
    #[error("damaged: it does not begin with the start of an engine")]
    NoStart,
    /// The engine does not start on what was recorded.
    #[error("the engine does not start: {0}")]
    Engine(#[from] Box<EngineError>),
}
