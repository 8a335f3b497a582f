//! `faultline token`: tokens of the HTTP API.

use crate::cli::Global;
use crate::commands::actor;
use crate::connection::Connection;
use crate::exit::{Done, say};
use crate::output::{self, Table, or_dash, time};
use anyhow::bail;
use clap::Subcommand;
use faultline_store::operate;
use faultline_store::tokens::{self, Role, Token};
use serde::Serialize;
use std::process::ExitCode;

const ROLES: &str = "\
Roles:
  read      see jobs, queues and workers
  enqueue   enqueue jobs, and see those it knows the id of
  work      run jobs
  operate   everything: cancel, retry, pause too

Example:
  curl -H \"authorization: Bearer $(faultline token create ci --role enqueue)\" …";

/// What to do with tokens.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make a token and print it, once: only its hash is stored
    #[command(after_help = ROLES)]
    Create {
        /// A name, for people
        name: String,
        /// What it allows: read, enqueue, work or operate
        #[arg(long)]
        role: Role,
    },
    /// List tokens, revoked ones too
    List,
    /// Revoke a token; running servers refuse it within seconds
    Revoke {
        /// Its name
        name: String,
    },
}

/// The answer of `faultline token create`.
#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    role: Role,
    token: String,
}

/// Runs `faultline token`.
pub(crate) async fn run(verb: &Verb, global: &Global) -> Done {
    let connection = Connection::new(global)?;
    match verb {
        Verb::Create { name, role } => create(&connection, global, name, *role).await?,
        Verb::List => {
            let tokens = connection.run(async |client| tokens::list(client).await).await?;
            output::list(global.output, "tokens", &tokens, None, &table(&tokens))?;
        }
        Verb::Revoke { name } => {
            if !connection.run(async |client| tokens::revoke(client, name).await).await? {
                bail!("there is no token {name} that is not revoked; look with `faultline token list`");
            }
            audit(&connection, "token.revoke", name, None).await?;
            output::answer(global.output, &serde_json::json!({ "name": name }), &format!("token {name} is revoked"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(connection: &Connection, global: &Global, name: &str, role: Role) -> anyhow::Result<()> {
    let (token, hash) = faultline_server::new_token();
    if !connection.run(async |client| tokens::create(client, name, role, &hash).await).await? {
        bail!("there is, or was, a token {name}: choose another name, so that the audit log stays clear");
    }
    audit(connection, "token.create", name, Some(role.as_str())).await?;
    let created = Created { name, role, token };
    output::answer(global.output, &created, &created.token)?;
    say("keep it: it is not shown again. A server that started without any token asks for none until it is restarted.");
    Ok(())
}

async fn audit(connection: &Connection, action: &str, name: &str, detail: Option<&str>) -> anyhow::Result<()> {
    connection.run(async |client| operate::audit(client, &actor(), action, name, detail).await).await
}

fn table(tokens: &[Token]) -> Table {
    let mut table = Table::new(&["NAME", "ROLE", "CREATED", "REVOKED"]);
    for token in tokens {
        table.row(&[
            token.name.clone(),
            token.role.as_str().to_owned(),
            time(token.created_at),
            or_dash(token.revoked_at.map(time)),
        ]);
    }
    table
}
