//! `faultline token`: tokens of the HTTP API.
#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    List,
}
pub(crate) async fn run(_: &Verb, _: &crate::cli::Global) -> crate::exit::Done {
    Ok(std::process::ExitCode::SUCCESS)
}
