//! Policy: runs what was recorded through an engine again, and says where it parts from the run that was recorded.

use super::reader::Frame;
use super::{Ending, Reader, RecordingError, TraceHash, call_line, output_line};
use crate::base::Instant;
use crate::engine::{Engine, Output};

/// An engine that is given what a recording holds, step by step.
#[derive(Debug)]
pub struct Replay<'a> {
    reader: Reader<'a>,
    engine: Engine,
    now: Instant,
    version: String,
    trace: TraceHash,
    begun: bool,
    diverged: bool,
    ending: Option<Ending>,
}

/// One step of a [`Replay`].
#[derive(Debug)]
pub struct Step {
    /// The engine's clock.
    pub at: Instant,
    /// What happened, in one line.
    pub what: String,
    /// What the engine put out then.
    pub outputs: Vec<Output>,
    /// Whether everything up to here came out as it did when it was recorded; `None` where that was not noted.
    pub agrees: Option<bool>,
}

impl<'a> Replay<'a> {
    /// Starts an engine as the recorded one was started.
    ///
    /// # Errors
    ///
    /// Where that is no recording, or its start cannot be read or repeated.
    pub fn new(file: &'a [u8]) -> Result<Self, RecordingError> {
        let mut reader = Reader::new(file)?;
        let Some(Frame::Start { version, now, start }) = reader.next_frame()? else {
            return Err(RecordingError::NoStart);
        };
        let engine = Engine::new(now, *start).map_err(Box::new)?;
        let trace = TraceHash::new();
        Ok(Self { reader, engine, now, version, trace, begun: false, diverged: false, ending: None })
    }

    /// The version of the program that recorded.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The hash of all outputs so far.
    pub fn trace(&self) -> TraceHash {
        self.trace
    }

    /// Whether something came out otherwise than when it was recorded.
    pub fn has_diverged(&self) -> bool {
        self.diverged
    }

    /// How the recording ended; `None` where it goes on or was cut off.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The engine as it is now.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The next step; `None` at the end.
    ///
    /// # Errors
    ///
    /// Where the recording is damaged from here on.
    pub fn step(&mut self) -> Result<Option<Step>, RecordingError> {
        if !core::mem::replace(&mut self.begun, true) {
            return Ok(Some(self.stepped("start".to_owned(), None)));
        }
        if self.ending.is_some() {
            return Ok(None);
        }
        match self.reader.next_frame()? {
            None => Ok(None),
            Some(Frame::Start { .. }) => Err(RecordingError::NoStart),
            Some(Frame::Call { after, call }) => {
                self.now += after;
                let what = call_line(&call);
                call.apply(&mut self.engine, self.now);
                Ok(Some(self.stepped(what, None)))
            }
            Some(Frame::Check(expected)) => {
                let agrees = expected == self.trace;
                self.diverged |= !agrees;
                let what = format!("check of {} outputs", expected.outputs);
                Ok(Some(self.stepped(what, Some(agrees))))
            }
            Some(Frame::End(ending)) => {
                self.ending = Some(ending);
                Ok(Some(self.stepped(format!("the recording ends: {ending:?}"), None)))
            }
        }
    }

    fn stepped(&mut self, what: String, agrees: Option<bool>) -> Step {
        let outputs: Vec<Output> = core::iter::from_fn(|| self.engine.poll_output()).collect();
        outputs.iter().for_each(|output| self.trace.fold(&output_line(output)));
        Step { at: self.now, what, outputs, agrees }
    }
}
