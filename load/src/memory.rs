//! How much memory a process has: what is resident, pages of shared mappings (rings, journals) included.

use std::fs;

use anyhow::Context;

/// Bytes.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).context(path.clone())?;
    Ok(field(&text, "VmRSS").with_context(|| format!("{path} tells no VmRSS"))? * 1024)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_take_and_write_to_is_resident() {
        let before = resident(std::process::id()).unwrap();
        let taken = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = resident(std::process::id()).unwrap();
        assert!(after - before > 60 << 20, "{before} {after} {}", taken.len());
        assert_eq!(field("VmHWM:\t 7 kB\nVmRSS:\t 12 kB\n", "VmRSS"), Some(12));
    }
}
