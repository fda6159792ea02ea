//! `gosh-dl replay`: runs what `--record` wrote through the engine again, step by step.

use crate::failure::{Failure, io_message};
use crate::output;
use crate::text;
use gosh_dl_core::engine::recording::{Ending, RECORDING_LIMIT, Replay, output_line};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Prints every step with what came of it, unless `quiet`, and whether all of it was as when it was recorded. Returns the
/// exit code.
pub(crate) fn replay(path: &Path, quiet: bool) -> Result<u8, Failure> {
    let shown = text::path(path);
    let failed = |why: String| Failure(format!("{shown}: {why}"));
    let file = read(path).map_err(|error| failed(format!("{}; check the path", io_message(&error))))?;
    let mut replay = Replay::new(&file)
        .map_err(|error| failed(format!("{}; give what --record wrote", text::escape(&error.to_string()))))?;
    let (ours, theirs) = (env!("CARGO_PKG_VERSION"), text::escape(replay.version()).into_owned());
    if ours != theirs {
        output::error(&format!(
            "warning: {shown} is of gosh-dl {theirs}, and this is {ours}: they may differ"
        ));
    }
    let mut steps = 0;
    let mut first = None;
    let damage = loop {
        let step = match replay.step() {
            Ok(Some(step)) => step,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        steps += 1;
        if step.agrees == Some(false) {
            first.get_or_insert(steps);
        }
        if quiet {
            continue;
        }
        output::result(&text::escape(&format!("#{steps} {:?} {}", step.at, step.what)));
        for output in &step.outputs {
            output::result(&text::escape(&format!("    -> {}", output_line(output))));
        }
    };
    let ending = match replay.ending() {
        Some(Ending::Closed) => "it ends with the engine",
        Some(Ending::Stopped) => "it ends where its process did, without a shutdown",
        Some(Ending::Full) => "it ends where it was full, and the engine went on",
        _ => "it was cut off there",
    };
    output::result(&format!("{steps} steps, {} outputs; {ending}", replay.trace().outputs));
    output::result(match first {
        None => "all outputs are those of the recorded run, as far as they were noted",
        Some(_) => "the outputs are not those of the recorded run",
    });
    output::result(&format!("trace hash: {:016x}", replay.trace().hash));
    if let Some(step) = first {
        return Err(failed(format!(
            "what came out by step {step} differs from the recorded run; please report this"
        )));
    }
    damage.map_or(Ok(0), |error| Err(failed(format!("step {}: {error}", steps + 1))))
}

/// No recording is longer than its limit and the few bytes that say that it was reached.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = Vec::new();
    File::open(path)?.take(RECORDING_LIMIT + 4096).read_to_end(&mut file)?;
    Ok(file)
}
