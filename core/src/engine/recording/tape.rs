//! Codec: the frames of a recording as they are written, up to a limit.

use super::fields::{Field, put_bytes};
use super::redact::CookieMask;
use super::{Call, TraceHash, output_line, redact};
use crate::base::store::Table;
use crate::base::{Instant, LinkInput, LinkOutput};
use crate::engine::{Engine, EngineStart, Input, LinkKey, Output};
use core::ops::Range;
use std::collections::BTreeMap;

/// Writes what an engine is given.
#[derive(Debug)]
pub(super) struct Tape {
    out: Vec<u8>,
    body: Vec<u8>,
    limit: u64,
    written: u64,
    last: Instant,
    trace: TraceHash,
    /// Calls since the last check.
    unchecked: u32,
    ended: bool,
    /// For each HTTP connection, where in a head it stands.
    masks: BTreeMap<LinkKey, CookieMask>,
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The engine was shut down.
    Closed,
    /// The driver ended without that.
    Stopped,
    /// The recording reached its limit; the engine went on.
    Full,
}

impl Tape {
    pub(super) fn new(now: Instant, start: &EngineStart, limit: u64) -> Self {
        let mut tape = Self {
            out: Vec::new(),
            body: Vec::new(),
            limit,
            written: 0,
            last: now,
            trace: TraceHash::new(),
            unchecked: 0,
            ended: false,
            masks: BTreeMap::new(),
        };
        tape.out.extend_from_slice(MAGIC);
        FORMAT.put(&mut tape.out);
        tape.body.push(START);
        put_bytes(env!("CARGO_PKG_VERSION").as_bytes(), &mut tape.body);
        now.as_nanos().put(&mut tape.body);
        put_start(start, &mut tape.body);
        tape.write_frame();
        tape
    }

    /// A command, before it is carried out.
    pub(super) fn call(&mut self, now: Instant, call: Call) {
        if !self.ended {
            self.put_call(now, &call.redacted(), &[]);
        }
    }

    /// An input, which is given to the engine too.
    pub(super) fn input(&mut self, now: Instant, input: Input, engine: &mut Engine) {
        if self.ended {
            return engine.handle_input(now, input);
        }
        let input = match input {
            Input::Link { link, input: LinkInput::Data(data) } => {
                let mut copy = data.clone();
                let payload = self.payload(link, &mut copy, engine);
                let call = Call::Input(Input::Link { link, input: LinkInput::Data(copy) });
                self.put_call(now, &call, &payload);
                Input::Link { link, input: LinkInput::Data(data) }
            }
            other => {
                if let Input::Link { link, input: LinkInput::Closed(_) } = &other {
                    self.masks.remove(link);
                }
                let call = Call::Input(other);
                self.put_call(now, &call, &[]);
                let Call::Input(other) = call else { return };
                other
            }
        };
        engine.handle_input(now, input);
    }

    /// The hash of all outputs.
    pub(super) fn trace(&self) -> TraceHash {
        self.trace
    }

    /// An output that was taken.
    pub(super) fn output(&mut self, output: &Output) {
        if self.ended {
            return;
        }
        if let Output::Link { link, output: LinkOutput::Close } = output {
            self.masks.remove(link);
        }
        self.trace.fold(&output_line(output));
        if *output == Output::Closed {
            self.end(Ending::Closed);
        }
    }

    /// Every output of the calls so far was taken.
    pub(super) fn drained(&mut self) {
        if !self.ended && self.unchecked >= CHECK_EVERY {
            self.check();
        }
    }

    /// Nothing follows.
    pub(super) fn end(&mut self, ending: Ending) {
        if self.ended {
            return;
        }
        self.ended = true;
        // What was not drained was not folded: only a full check is one.
        if ending == Ending::Closed {
            self.check();
        }
        self.body.push(END);
        self.body.push(ending as u8);
        self.write_out();
    }

    /// What was written since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.out)
    }

    fn put_call(&mut self, now: Instant, call: &Call, payload: &[Range<usize>]) {
        self.body.push(CALL);
        u64::try_from((now - self.last).as_nanos()).unwrap_or(u64::MAX).put(&mut self.body);
        call.put_without(payload, &mut self.body);
        self.last = self.last.max(now);
        self.unchecked += 1;
        self.write_frame();
    }

    /// Which of the bytes that arrive are payload. What is nobody's business among the others is masked.
    fn payload(&mut self, link: LinkKey, data: &mut [u8], engine: &Engine) -> Vec<Range<usize>> {
        let payload = engine.payload(link, data);
        // Among bytes of a peer there are no headers, and what looks like one is a part of something.
        if engine.is_peer(link) {
            return payload;
        }
        let mask = self.masks.entry(link).or_default();
        let mut at = 0;
        for span in payload.iter().cloned().chain([data.len()..data.len()]) {
            data[at..span.start].iter_mut().for_each(|byte| mask.mask(byte));
            at = span.end;
        }
        payload
    }

    fn check(&mut self) {
        self.unchecked = 0;
        self.body.push(CHECK);
        self.trace.outputs.put(&mut self.body);
        self.trace.hash.put(&mut self.body);
        self.write_out();
    }

    fn write_frame(&mut self) {
        if self.written + self.body.len() as u64 > self.limit {
            self.body.clear();
            self.end(Ending::Full);
        } else {
            self.write_out();
        }
    }

    fn write_out(&mut self) {
        let before = self.out.len();
        put_bytes(&self.body, &mut self.out);
        self.body.clear();
        self.written += (self.out.len() - before) as u64;
    }
}

/// What an engine starts from, without what is nobody's business.
fn put_start(start: &EngineStart, out: &mut Vec<u8>) {
    let EngineStart { config, seed, unix_millis, boot_id, records, note } = start;
    let redacted = |record: &crate::base::store::Record| {
        let mut record = record.clone();
        if record.table == Table::Download {
            record.value = redact::record(&record.value);
        }
        record
    };
    config.put(out);
    seed.put(out);
    unix_millis.put(out);
    boot_id.put(out);
    records.iter().map(redacted).collect::<Vec<_>>().put(out);
    note.put(out);
}

pub(super) const MAGIC: &[u8] = b"gosh-dl recording\n";
/// The version of the format. What a call does changes with the program, so a recording is for the version that made
/// it; this one says whether it can be read at all.
pub(super) const FORMAT: u32 = 1;

pub(super) const START: u8 = 0;
pub(super) const CALL: u8 = 1;
pub(super) const CHECK: u8 = 2;
pub(super) const END: u8 = 3;

/// So many calls may be made before the outputs are compared: a check is a dozen bytes.
const CHECK_EVERY: u32 = 16;
