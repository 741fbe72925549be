use std::net::SocketAddr;

use kit::net::{self, Transport, Why};

#[test]
fn a_taken_port_names_its_owner_and_the_setting() {
    for (transport, host) in [
        (Transport::Udp, "127.0.0.1"),
        (Transport::Udp, "[::1]"),
        (Transport::Tcp, "127.0.0.1"),
        (Transport::Tcp, "[::1]"),
    ] {
        let any: SocketAddr = format!("{host}:0").parse().unwrap();
        let (text, pid) = match transport {
            Transport::Udp => {
                let Ok(holder) = std::net::UdpSocket::bind(any) else {
                    println!("skipped: no {host} on this machine");
                    continue;
                };
                (
                    net::udp("edge.listeners[0].bind", holder.local_addr().unwrap()).unwrap_err().to_string(),
                    std::process::id(),
                )
            }
            Transport::Tcp => {
                let Ok(holder) = std::net::TcpListener::bind(any) else {
                    println!("skipped: no {host} on this machine");
                    continue;
                };
                (net::tcp("api.bind", holder.local_addr().unwrap()).unwrap_err().to_string(), std::process::id())
            }
        };
        assert!(text.contains(&format!("this process itself (pid {pid})")), "{text}");
        assert!(text.contains("bind)") && text.contains(host.trim_matches(['[', ']'])), "{text}");
    }
}

#[test]
fn the_owner_in_another_process_is_named_by_its_command_without_its_arguments() {
    // The holder inherits the listening socket as its standard input, and has an argument that must not show.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut holder = std::process::Command::new("sleep")
        .args(["60", "0.0001"])
        .stdin(std::os::fd::OwnedFd::from(listener))
        .spawn()
        .unwrap();
    // spawn returns after exec, so the command's name is already that of the program.
    let error = net::tcp("admin.bind", addr).unwrap_err();
    holder.kill().unwrap();
    holder.wait().unwrap();
    let text = error.to_string();
    assert!(text.contains(&format!("pid {} (sleep)", holder.id())), "{text}");
    assert!(!text.contains("0.0001"), "{text}");
}

#[test]
fn a_listener_on_all_addresses_is_found_behind_a_specific_one() {
    let holder = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], holder.local_addr().unwrap().port()));
    let error = net::udp("edge.bind", addr).unwrap_err();
    assert!(matches!(&error.why, Why::Taken(owners) if owners[0].pid == std::process::id()), "{error}");
}

#[test]
fn an_address_of_another_machine_is_said_to_be_that() {
    let error = net::udp("edge.bind", "192.0.2.1:5060".parse().unwrap()).unwrap_err();
    assert!(matches!(error.why, Why::NotOurs), "{error}");
    assert!(error.to_string().contains("setting edge.bind"), "{error}");
}

#[test]
fn sockets_are_ready_for_an_asynchronous_runtime() {
    let udp = net::udp("a", "127.0.0.1:0".parse().unwrap()).unwrap();
    let would_block = udp.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(would_block.kind(), std::io::ErrorKind::WouldBlock);
    let tcp = net::tcp("b", "127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(tcp.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
