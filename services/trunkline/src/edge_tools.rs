//! `trunkline edge`: the service, and what an operator needs beside it: rules for the firewalls, and who knocks.

use std::process::ExitCode;

use anyhow::bail;
use edge::firewall::{self, Options};
use serde_json::Value;

use crate::cli::{EdgeArgs, EdgeCommand, FirewallArgs, KnockingArgs};
use crate::settings::Settings;
use crate::{admin_client, service};

pub fn run(args: &EdgeArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => service::run("edge", &args.config),
        Some(EdgeCommand::Firewall(args)) => firewall(args),
        Some(EdgeCommand::Knocking(args)) => knocking(args),
    }
}

fn firewall(args: &FirewallArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config.config)?;
    let options = Options { close: args.close, edges: args.edges.clone() };
    let Some(id) = &args.node else {
        print!("{}", firewall::edge(&settings.edge, &options));
        return Ok(ExitCode::SUCCESS);
    };
    match firewall::node(&settings.edge, id, &options) {
        Some(rules) => print!("{rules}"),
        None => {
            let known: Vec<&str> = settings.edge.nodes.iter().map(|n| n.id.as_str()).collect();
            bail!("no node is called {id}; the settings have: {}", known.join(", "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn knocking(args: &KnockingArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config.config)?;
    let own = settings.edge.admin.clone().map(|admin| ("edge.admin", admin));
    let (setting, admin) = own.unwrap_or_else(|| ("admin", service::admin_of("edge", settings.admin.clone())));
    let answer = admin_client::get(&admin, setting, "/v1/knocking")?;
    let list = answer.as_array().cloned().unwrap_or_default();
    for knock in &list {
        if args.json {
            println!("{knock}");
        } else {
            println!("{}", told(knock));
        }
    }
    if list.is_empty() && !args.json {
        println!("nobody was turned away since the edge started");
    }
    Ok(ExitCode::SUCCESS)
}

/// One source: a line, and below it what would let it in.
fn told(knock: &Value) -> String {
    let text = |key: &str| match &knock[key] {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    };
    let admit: String = text("admit").lines().map(|line| format!("\n    {line}")).collect();
    format!(
        "{} to listener {} ({}): {} messages, the last one {}{admit}",
        text("source"),
        text("listener"),
        text("transport"),
        text("messages"),
        ago(knock["last_us"].as_i64().unwrap_or_default())
    )
}

fn ago(us: i64) -> String {
    use domain::Clock as _;
    let seconds = kit::clock::SystemClock.now().wall_us.saturating_sub(us).max(0) / 1_000_000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knock_is_told_with_the_lines_that_would_let_it_in() {
        let knock = serde_json::json!({
            "source": "198.51.100.9", "listener": "udp", "transport": "udp", "messages": 7, "last_us": 0,
            "admit": "[[edge.trunks]]\nid = \"new\"\nsources = [\"198.51.100.9\"]",
        });
        let told = told(&knock);
        assert!(told.starts_with("198.51.100.9 to listener udp (udp): 7 messages, the last one "), "{told}");
        assert!(told.ends_with("    id = \"new\"\n    sources = [\"198.51.100.9\"]"), "{told}");
    }
}
