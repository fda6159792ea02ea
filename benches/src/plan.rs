//! What to measure and how often.

use std::path::PathBuf;

/// The sections, in the order they run.
pub(crate) const SECTIONS: [&str; 17] = [
    "http", "tls", "capped", "files", "startup", "checksum", "resume", "runtimes", "stores", "micro",
    "picker", "decode", "leech", "seed", "many", "check", "idle",
];

/// What was asked on the command line.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The sections to run.
    pub(crate) sections: Vec<String>,
    /// Rounds of each comparison.
    pub(crate) rounds: usize,
    /// Small sizes, for a first look.
    pub(crate) quick: bool,
    /// The program under test.
    pub(crate) program: PathBuf,
}

impl Plan {
    /// Reads the command line.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let program = std::env::var_os("GOSH_DL").unwrap_or_else(|| "target/release/gosh-dl".into());
        let program = std::path::absolute(program).map_err(|error| error.to_string())?;
        let mut plan = Self { sections: Vec::new(), rounds: 0, quick: false, program };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => plan.quick = true,
                "--rounds" => {
                    let rounds = words.next().and_then(|text| text.parse().ok());
                    plan.rounds = rounds.filter(|rounds| *rounds > 0).ok_or("--rounds needs a number")?;
                }
                section if SECTIONS.contains(&section) => plan.sections.push(section.to_owned()),
                other => {
                    return Err(format!("{other} is none of --quick, --rounds N, {}", SECTIONS.join(", ")));
                }
            }
        }
        if plan.sections.is_empty() {
            plan.sections = SECTIONS.map(str::to_owned).to_vec();
        }
        if plan.rounds == 0 {
            plan.rounds = if plan.quick { 3 } else { 5 };
        }
        Ok(plan)
    }

    /// A size in MiB, another in a quick run; in bytes.
    pub(crate) fn size(&self, full: usize, quick: usize) -> usize {
        (if self.quick { quick } else { full }) << 20
    }

    /// A size in MiB, a sixteenth of it in a quick run.
    pub(crate) fn mib(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(16) << 20 } else { full << 20 }
    }
}
