//! The `faultline` program: everything that Faultline does, as `faultline <noun> <verb>`.
//!
//! Exit codes: 0 well, 1 it failed (one line on standard error says what to do), 2 it was called wrongly.
//!
//! - [`cli`]: the grammar, and what holds for every command
//! - `commands`: one file for each noun
//! - [`exec`], [`webhook`], [`demo`]: the three ways in which `faultline work` runs a job, each giving an [`attempt::Outcome`]
//! - [`connection`], [`output`], [`exit`], [`logging`], [`signals`], [`https`], `traces`: the edges to the database, the
//!   terminal, the shell, other servers
//!
//! Configuration of a process comes as flags or as `FAULTLINE_*` variables. Flags that describe one job or one request
//! have no variable, on purpose: `work` hands `FAULTLINE_QUEUE`, `FAULTLINE_KEY` and so on to handlers, and a handler that
//! calls `faultline job enqueue` must not enqueue under its own job's key.

mod attempt;
mod cli;
mod commands;
mod connection;
mod demo;
mod exec;
mod exit;
mod https;
mod logging;
mod output;
mod signals;
#[cfg(feature = "otel")]
mod traces;
mod webhook;

use clap::Parser;
use std::process::ExitCode;

/// A job is many small allocations, which end on another thread than the one that made them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&anyhow::Error::new(error).context("cannot start")),
    };
    let log = logging::start(&cli.global, &cli.command, runtime.handle());
    let answer = runtime.block_on(cli.command.run(&cli.global));
    log.end();
    // Nothing that still runs may hold up the end: what has to be waited for was waited for.
    runtime.shutdown_background();
    match answer {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}
