//! Kamailio and SIPp, from Debian.

use std::process::Command;

use anyhow::{Context, ensure};

/// Program and package.
const NEEDED: [(&str, &str); 2] = [("kamailio", "kamailio"), ("sipp", "sip-tester")];

/// Installs what is missing; needs root for that. A service of Kamailio's own, which the package may start, is no part of the
/// measurement: every turn starts its own Kamailio on free ports.
pub fn ensure_installed() -> anyhow::Result<()> {
    let missing = |program: &str| Command::new(program).arg("-v").output().is_err();
    let packages: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| missing(program)).map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    println!("installing {}", packages.join(" and "));
    let done = Command::new("apt-get")
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    let done =
        done.with_context(|| format!("{} must be installed, and there is no apt-get", packages.join(" and ")))?;
    ensure!(done.success(), "as root: apt-get install {}", packages.join(" "));
    Ok(())
}
