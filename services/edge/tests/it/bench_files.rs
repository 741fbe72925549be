//! The files of the FreeSWITCH bench: well-formed, and agreed with each other and with Trunkline's settings beside them.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/freeswitch")
}

/// An element's name, and its attributes.
type Element = (String, Vec<(String, String)>);

/// Names of elements in their order of opening; an error names the line. Enough of XML for files without DTD and CDATA.
fn read(text: &str) -> Result<Vec<Element>, String> {
    let (mut rest, mut open, mut all) = (text, Vec::new(), Vec::new());
    let line = |rest: &str| text[..text.len() - rest.len()].matches('\n').count() + 1;
    while let Some(at) = rest.find('<') {
        if rest[..at].contains(['>']) {
            return Err(format!("line {}: a stray >", line(rest)));
        }
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            let end = comment.find("--").ok_or(format!("line {}: a comment without end", line(rest)))?;
            rest = comment[end..].strip_prefix("-->").ok_or(format!("line {}: -- in a comment", line(rest)))?;
            continue;
        }
        let end = rest.find('>').ok_or(format!("line {}: a tag without end", line(rest)))?;
        let (tag, after) = (&rest[1..end], &rest[end + 1..]);
        if let Some(name) = tag.strip_prefix('/') {
            let opened: Option<String> = open.pop();
            if opened.as_deref() != Some(name) {
                return Err(format!("line {}: </{name}> closes {opened:?}", line(rest)));
            }
        } else if !tag.starts_with('?') {
            let (body, closes) = tag.strip_suffix('/').map_or((tag, false), |body| (body, true));
            let (name, mut attributes) = body.split_once(char::is_whitespace).unwrap_or((body, ""));
            let mut found = Vec::new();
            while !attributes.trim().is_empty() {
                let wrong = || format!("line {}: the attributes of {name}", line(rest));
                let (key, value) = attributes.split_once("=\"").ok_or_else(wrong)?;
                let (value, more) = value.split_once('"').ok_or_else(wrong)?;
                if value.contains('<') || key.trim().contains(char::is_whitespace) {
                    return Err(wrong());
                }
                found.push((key.trim().to_owned(), value.to_owned()));
                attributes = more;
            }
            all.push((name.to_owned(), found));
            if !closes {
                open.push(name.to_owned());
            }
        }
        rest = after;
    }
    if open.is_empty() { Ok(all) } else { Err(format!("never closed: {open:?}")) }
}

/// The value of a `param`.
fn param(file: &[(String, Vec<(String, String)>)], name: &str) -> Vec<String> {
    let named = |key: &str, attributes: &[(String, String)]| {
        attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).unwrap_or_default()
    };
    file.iter().filter(|(tag, a)| tag == "param" && named("name", a) == name).map(|(_, a)| named("value", a)).collect()
}

#[test]
fn every_xml_file_is_well_formed() {
    for broken in ["<a>", "<a></b>", "<a b=1/>", "<!-- -- -->", "<a b=\"<\"/>", "<a", "</a>"] {
        assert!(read(broken).is_err(), "{broken}");
    }
    for file in ["bench/freeswitch.xml", "autoload_configs/event_socket.conf.xml", "dialplan/trunkline.xml"] {
        let text = std::fs::read_to_string(folder().join(file)).unwrap();
        assert!(read(&text).unwrap().len() > 3, "{file}");
    }
}

#[test]
fn the_bench_is_made_with_secrets_of_its_own_and_its_two_sides_agree() {
    let dir = tempfile::tempdir().unwrap();
    let make = || {
        let to = dir.path().join("made");
        let done = Command::new("sh").arg(folder().join("bench/make.sh")).arg(&to).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        to
    };
    let made = make();
    let secrets = std::fs::read_to_string(made.join("conf/secrets.xml")).unwrap();
    make();
    assert_eq!(secrets, std::fs::read_to_string(made.join("conf/secrets.xml")).unwrap(), "made once");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(made.join("conf/secrets.xml")).unwrap());
    assert_eq!(mode & 0o077, 0);
    read(&secrets).unwrap();
    let password = secrets.split("esl_password=").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(password.len() == 32 && password.chars().all(|c| c.is_ascii_alphanumeric()), "{password}");

    let switch = read(&std::fs::read_to_string(made.join("conf/freeswitch.xml")).unwrap()).unwrap();
    let ours: toml::Table = std::fs::read_to_string(made.join("trunkline.toml")).unwrap().parse().unwrap();
    let edge: edge::Config = ours["edge"].clone().try_into().unwrap();
    let mut problems = Vec::new();
    kit::settings::Check::check(&edge, "edge", &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    let engine = &ours["engine"]["nodes"][0];
    assert_eq!((engine["password"].as_str(), engine["id"].as_str()), (Some(password), Some(edge.nodes[0].id.as_str())));
    let one = |name: &str| param(&switch, name).remove(0);
    assert_eq!(edge.nodes[0].address.to_string(), format!("{}:{}", one("sip-ip"), one("sip-port")));
    assert_eq!(one("proxy"), edge.listeners[1].bind.to_string(), "the gateway leads to the node side");
    assert_eq!(engine["address"].as_str().unwrap(), format!("{}:{}", one("listen-ip"), one("listen-port")));
    assert_eq!(edge.firewall.rtp_ports.to_string(), format!("{}-{}", one("rtp-start-port"), one("rtp-end-port")));
    assert_eq!(one("password"), "$${esl_password}");
    // What the recorded sessions showed to matter.
    assert_eq!((one("rtp-timer-name").as_str(), one("event-heartbeat-interval").as_str()), ("soft", "1"));
    assert_eq!((one("inbound-use-callid-as-uuid").as_str(), one("auth-calls").as_str()), ("false", "false"));
    assert_eq!(param(&switch, "apply-inbound-acl"), ["loopback.auto", "edge"]);
}
