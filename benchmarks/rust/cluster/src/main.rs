//! A private Postgres for the runner: started with the settings in the arguments (`name=value`), told on standard output, gone
//! when standard input ends or this process dies.

use anyhow::{Context, Result};
use faultline_cluster::{Cluster, Programs};
use std::io::Read;

fn main() -> Result<()> {
    let mut builder = Cluster::builder(Programs::find()?);
    for setting in std::env::args().skip(1) {
        let (name, value) = setting.split_once('=').with_context(|| format!("expected name=value, not {setting}"))?;
        builder = builder.setting(name, value);
    }
    let cluster = builder.start()?;
    println!("{}", serde_json::json!({"url": cluster.url("postgres"), "port": cluster.port()}));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
