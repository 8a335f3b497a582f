//! serve
#[derive(clap::Args)]
pub(crate) struct Options {}
pub(crate) async fn run(_: &Options, _: &crate::cli::Global) -> crate::exit::Done {
    Ok(std::process::ExitCode::SUCCESS)
}
