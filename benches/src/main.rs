//! gosh-dl side by side with its peers, on one machine, in turn. `benches/run.sh` is the way in.
#![expect(clippy::print_stdout, reason = "tables on the terminal are what this is for")]

mod contender;
mod decode;
mod embedder;
mod idle;
mod limit;
mod measure;
mod micro;
mod picker;
mod plan;
mod sections;
mod stores;
mod swarm;
mod table;

use plan::Plan;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: micro::Counting = micro::Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, url, connections, out] = arguments.as_slice()
        && word == "limit"
    {
        limit::run(url, connections.parse().expect("a number of connections"), out.as_ref());
        return ExitCode::SUCCESS;
    }
    if let [word, runtime, url, connections, dir] = arguments.as_slice()
        && word == "embedder"
    {
        let connections = connections.parse().expect("a number of connections");
        let fetched = embedder::run(runtime, url, connections, dir.as_ref());
        return fetched.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    if let [word, command @ ..] = arguments.as_slice()
        && word == "measure"
    {
        println!("{}", measure::here(command));
        return ExitCode::SUCCESS;
    }
    if let [word, rest @ ..] = arguments.as_slice()
        && swarm::play(word, rest)
    {
        return ExitCode::SUCCESS;
    }
    match Plan::parse(&arguments) {
        Ok(plan) => {
            sections::run(&plan);
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("{message}");
            ExitCode::from(2)
        }
    }
}
