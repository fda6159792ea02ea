//! The command line of gosh-dl: fetches files over many connections, and goes on where it stopped.

mod announced;
mod args;
mod create;
mod engine;
mod failure;
mod get;
mod input_file;
mod json;
mod log;
mod manage;
mod metainfo;
mod moving;
mod output;
mod pieces;
mod progress;
mod rate;
mod replay;
mod run;
mod seed;
mod selection;
mod settings;
mod show;
mod signals;
mod state;
mod storage;
mod stream;
mod swarm;
mod tally;
mod text;
mod trouble;
mod verify;
mod wait;
mod watch;

use args::{Cli, Command, StateCommand};
use clap::{CommandFactory as _, Parser as _};
use engine::Runtime;
use failure::{Refusal, UsageError};
use settings::Show;
use std::process::ExitCode;
use verify::Say;
use wait::block_on;

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => command(cli.command),
        Err(error) => Ok(unparsed(&error)),
    };
    let code = result.unwrap_or_else(|refusal| match refusal {
        Refusal::Usage(UsageError(why)) => usage(&why),
        Refusal::Failure(failure) => {
            output::failure(&failure);
            FAILED
        }
    });
    ExitCode::from(if code == 0 && output::is_lost() { FAILED } else { code })
}

fn command(command: Command) -> Result<u8, Refusal> {
    match command {
        Command::Get(args) => {
            log::start(args.show.verbose);
            let settings = settings::get(&args)?;
            Ok(block_on(settings.runtime, get::get(settings, Show::from(&args.show)))??)
        }
        Command::Seed(args) => {
            log::start(args.show.verbose);
            let settings = swarm::seed(&args)?;
            Ok(block_on(settings.runtime, seed::seed(settings, Show::from(&args.show)))??)
        }
        Command::Show { torrent, json } => Ok(show::show(&torrent, json)?),
        Command::Create(args) => create::create(&args),
        Command::Verify { torrent, dir, quiet, json } => {
            let say = if quiet {
                Say::Nothing
            } else if json {
                Say::Json
            } else {
                Say::Lines
            };
            Ok(verify::verify(&torrent, dir.as_deref(), say)?)
        }
        Command::List(args) => Ok(manage::list(&args)?),
        Command::Resume(args) => {
            log::start(args.show.verbose);
            block_on(args.transfer.runtime, manage::resume(&args))?
        }
        Command::Cancel(args) => Ok(block_on(Runtime::default(), manage::cancel(&args))??),
        Command::Move(args) => Ok(block_on(Runtime::default(), moving::move_to(&args))??),
        Command::State(StateCommand::Convert { from, to, storage, json }) => {
            Ok(manage::convert(&from, &to, storage, json)?)
        }
        Command::Replay { file, quiet, verbose } => {
            log::start(verbose);
            Ok(replay::replay(&file, quiet)?)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "gosh-dl", &mut script);
            output::raw(&script);
            Ok(0)
        }
    }
}

/// Help and version as they are; what is wrong, in one line.
fn unparsed(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        output::raw(error.render().to_string().as_bytes());
        return 0;
    }
    let rendered = error.render().to_string();
    if matches!(error.kind(), clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        output::note(rendered.trim_end());
        return USAGE;
    }
    let lines = rendered.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<_> = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .map(|line| line.trim_start_matches("error: ").trim_start_matches("tip: "))
        .collect();
    let mut why = told.join("; ").replace(":; ", ": ");
    if matches!(error.kind(), clap::error::ErrorKind::MissingRequiredArgument) && why.contains("<URL>") {
        why.push_str(", or -i FILE to read them from");
    }
    usage(&text::escape(&why))
}

fn usage(why: &str) -> u8 {
    let is_command = |name: &String| Cli::command().find_subcommand(name).is_some();
    let command =
        std::env::args().nth(1).filter(is_command).map(|name| format!(" {name}")).unwrap_or_default();
    output::error(&format!("{why}; see gosh-dl{command} --help"));
    USAGE
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
