//! The edge set up from its README alone: the commands of its section "From nothing to a call" are run as they stand there. Then
//! stock SIPp calls over UDP and TCP, and user agents register, call and are called over TLS and secure WebSocket.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::agent::{Account, Agent, Target, converse};
use testkit::node::Node;
use testkit::pki;
use tests::{binary, command, root, wait};

use super::outside::{Ends, Process, free_port, get, has_sipp, sipp};

const NAME: &str = "edge.example.com";

/// The lines of the README's block, without the one that starts the edge.
fn steps() -> Vec<String> {
    let readme = fs::read_to_string(root().join("services/edge/README.md")).expect("the README");
    let (_, section) = readme.split_once("## From nothing to a call").expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("its commands");
    let (block, _) = block.split_once("```").expect("their end");
    let joined = block.replace("\\\n", " ");
    let steps: Vec<String> = joined.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect();
    let (last, before) = steps.split_last().expect("commands");
    assert_eq!(last, "trunkline edge --config edge.toml");
    before.to_vec()
}

/// Runs a command of the README where `trunkline` and `infra` are what they are for a reader of it.
fn shell(folder: &Path, line: &str) {
    let mut path = binary().expect("built").parent().expect("a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let out = Command::new("sh").args(["-c", line]).current_dir(folder).env("PATH", path).output().expect("sh");
    assert!(
        out.status.success(),
        "{line}\n{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

fn account(user: &str) -> Account {
    Account { user: user.into(), password: format!("secret of {user}"), domain: "example.com".into() }
}

/// Both register; each calls the other, and each hangs up once.
async fn phones(node: Node, tls: Target, wss: Target) {
    let script = async {
        let mut alice = Agent::connect(account("alice"), tls).await.expect("TLS");
        let mut bob = Agent::connect(account("bob"), wss).await.expect("WSS");
        let early = alice.call("bob").await.expect("sent");
        assert_eq!(alice.finished(&early).await.expect("an answer").0, 403, "nobody calls who is not registered");
        for agent in [&mut alice, &mut bob] {
            let answer = agent.register(600).await.expect("an answer");
            assert_eq!(answer.status(), 200, "{answer:#?}");
        }
        converse(&mut alice, &mut bob, true).await.expect("alice calls bob");
        converse(&mut bob, &mut alice, false).await.expect("bob calls alice");
    };
    tokio::select! {
        error = node.run() => panic!("the node ended: {error}"),
        () = script => {}
    }
}

#[test]
fn an_edge_from_its_readme_carries_calls_over_udp_tcp_tls_and_secure_websocket() {
    let has_sipp = has_sipp("SIPp's calls over UDP and TCP");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    // The ring wants a tmpfs; the folder of the machine's other processes is not for a test.
    let memory = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    std::os::unix::fs::symlink(root().join("infra"), folder.join("infra")).expect("infra as in the repository");
    let users = [("alice", "secret of alice"), ("bob", "secret of bob")];
    let registrar = runtime.block_on(Node::bind(&users)).expect("a node");
    let [sip, tls, wss, ws, nodes, uas, admin, process] = std::array::from_fn(|_| free_port());
    for line in steps() {
        shell(folder, &line);
        let file = folder.join("edge.toml");
        if let Ok(mut text) = fs::read_to_string(&file) {
            let ports = [
                (5060, sip),
                (5061, tls),
                (7443, wss),
                (5066, ws),
                (5070, nodes),
                (5080, uas),
                (5081, registrar.addr().port()),
                (9611, admin),
            ];
            // Only the ports are this machine's own.
            for (from, to) in ports {
                text = text.replace(&format!("127.0.0.1:{from}\""), &format!("127.0.0.1:{to}\" "));
            }
            fs::write(&file, text).expect("settings");
        }
    }
    let uas_port = uas.to_string();
    let _uas = has_sipp.then(|| Ends(sipp(folder, &["-sn", "uas", "-p", &uas_port])));
    let mut edge = command(folder, &["edge", "--config", "edge.toml"]).expect("built");
    edge.env("TRUNKLINE__ADMIN__BIND", format!("127.0.0.1:{process}")).env("TRUNKLINE__RUN_DIR", memory.path());
    let mut edge = Process::start(edge, folder);
    edge.until("readiness", || get(process, "/readyz"));

    let trust = pki::trusting(&folder.join("edge.pem"), None);
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let tls = Target::Tls(at(tls), NAME.into(), trust.clone());
    runtime.block_on(phones(registrar, tls, Target::Wss(at(wss), NAME.into(), trust)));

    let mut legs = 4;
    if has_sipp {
        for transport in ["u1", "t1"] {
            let to = format!("127.0.0.1:{sip}");
            let args = ["-sn", "uac", &to, "-s", "442079460018", "-m", "5", "-r", "5", "-d", "200", "-t", transport];
            let status = wait(&mut sipp(folder, &args), Duration::from_secs(60)).expect("the calls end");
            assert!(status.success(), "SIPp over {transport}: {status}");
            legs += 5;
        }
    }
    edge.until("the end of every call", || {
        let json: serde_json::Value = serde_json::from_str(&get(admin, "/v1/counters")?).ok()?;
        (json["counters"]["ended"] == legs && json["dialogs"] == 0).then_some(())
    });
    let status = edge.terminate();
    assert!(status.success(), "nothing was abandoned: {status}");
}
