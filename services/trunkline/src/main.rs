//! The one binary: reads the command line, and turns the outcome into an exit code.

mod admin_client;
mod base;
mod check;
mod cli;
mod dead_letters;
mod demo;
mod edge_tools;
mod ladder;
mod migrate;
mod orphans;
mod platform;
mod records;
mod replay;
mod runtimes;
mod schemas_register;
mod service;
mod settings;
mod simulate;
mod slot;
mod standalone;
mod story;
mod stream_verify;
mod topics;
mod topics_at_start;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::Standalone(args) => standalone::run(&args),
        Command::Edge(args) => edge_tools::run(&args),
        Command::Engine(args) => service::run("engine", &args),
        Command::Cdr(args) => service::run("cdr", &args),
        Command::Analytics(args) => service::run("analytics", &args),
        Command::Fraud(args) => service::run("fraud", &args),
        Command::Capacity(args) => service::run("capacity", &args),
        Command::Api(args) => service::run("api", &args),
        Command::Check(args) => check::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Call(args) => story::run(&args),
        Command::DeadLetters(args) => dead_letters::run(&args.command),
        Command::Topics(args) => topics::run(&args.command),
        Command::Stream(args) => stream_verify::run(&args.command),
        Command::Schemas(args) => schemas_register::run(&args.command),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("trunkline: {error:#}");
        ExitCode::FAILURE
    })
}
