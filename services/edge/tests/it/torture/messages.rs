//! The 49 and the 12, each with what this edge does with it, and then with each mutator.

use super::lab::Outcome::{self, Final, FinalAndClose, Node, Silence, WaitAndClose};
use super::lab::{Lab, check_same_call};
use super::mutate;

/// Name, outcome over UDP, outcome over TCP.
type Case = (&'static str, Outcome, Outcome);

const RFC4475: [Case; 49] = [
    // Its To has a tag, and its Route is not ours: a dialog that this edge does not know.
    ("wsinv", Final(481), Final(481)),
    ("intmeth", Final(501), Final(501)),
    ("esc01", Node, Node),
    ("escnull", Final(405), Final(405)),
    ("esc02", Final(501), Final(501)),
    ("lwsdisp", Final(200), Final(200)),
    ("longreq", Node, Node),
    ("dblreq", Final(405), Final(405)),
    ("semiuri", Final(200), Final(200)),
    ("transports", Final(200), Final(200)),
    ("mpart01", Final(405), Final(405)),
    ("unreason", Silence, Silence),
    ("noreason", Silence, Silence),
    ("badinv01", Silence, Silence),
    ("clerr", Final(400), WaitAndClose),
    ("ncl", Final(400), FinalAndClose(400)),
    ("scalar02", Final(400), Final(400)),
    ("scalarlg", Silence, Silence),
    ("quotbal", Final(400), Final(400)),
    ("ltgtruri", Final(400), Final(400)),
    ("lwsruri", Final(400), FinalAndClose(400)),
    ("lwsstart", Final(400), FinalAndClose(400)),
    ("trws", Final(400), FinalAndClose(400)),
    ("escruri", Final(400), Final(400)),
    ("baddate", Node, Node),
    ("regbadct", Final(400), Final(400)),
    ("badaspec", Final(400), Final(400)),
    ("baddn", Final(400), Final(400)),
    ("badvers", Final(505), Final(505)),
    ("mismatch01", Final(400), Final(400)),
    ("mismatch02", Final(501), Final(501)),
    ("bigcode", Silence, Silence),
    ("badbranch", Final(400), Final(400)),
    ("insuf", Final(400), Final(400)),
    ("unkscm", Final(416), Final(416)),
    ("novelsc", Final(416), Final(416)),
    ("unksm2", Final(405), Final(405)),
    ("bext01", Final(420), Final(420)),
    ("invut", Node, Node),
    ("regaut01", Final(405), Final(405)),
    ("multi01", Final(400), Final(400)),
    ("mcl01", Final(400), FinalAndClose(400)),
    ("bcast", Silence, Silence),
    ("zeromf", Final(483), Final(483)),
    ("cparam01", Final(405), Final(405)),
    ("cparam02", Final(405), Final(405)),
    ("regescrt", Final(405), Final(405)),
    ("sdp01", Node, Node),
    // Without a Content-Length a stream does not say where the next message begins.
    ("inv2543", Node, FinalAndClose(400)),
];

const RFC5118: [Case; 12] = [
    ("4.1", Final(405), Final(405)),
    ("4.2", Final(400), Final(400)),
    ("4.3", Final(405), Final(405)),
    ("4.4", Final(405), Final(405)),
    ("4.5a", Final(481), Final(481)),
    ("4.5b", Final(200), Final(200)),
    ("4.6", Node, Node),
    ("4.7", Final(481), Final(481)),
    ("4.8", Node, Node),
    ("4.9", Node, Node),
    ("4.10a", Final(200), Final(200)),
    ("4.10b", Final(200), Final(200)),
];

/// Ours, or the RFC's own where `TRUNKLINE_TORTURE` names a folder with them (as in the library's tests).
pub fn read(set: &str, name: &str) -> Vec<u8> {
    let theirs = std::env::var("TRUNKLINE_TORTURE")
        .into_iter()
        .flat_map(|folder| ["dat", "sip", "txt"].map(|ending| format!("{folder}/{set}/{name}.{ending}")));
    if let Some(bytes) = theirs.into_iter().find_map(|path| std::fs::read(path).ok()) {
        return bytes;
    }
    let path = format!("{}/../libs/sip/tests/{set}/{name}.sip", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn check_set(set: &str, cases: &[Case]) {
    let mut lab = Lab::new();
    for transport in ["udp", "tcp"] {
        let mut good = 0;
        for &(name, on_udp, on_tcp) in cases {
            let bytes = read(set, name);
            let (expected, pieces) =
                if transport == "udp" { (on_udp, vec![0]) } else { (on_tcp, vec![1, 53, bytes.len()]) };
            let mut is_good = true;
            for piece in pieces {
                // Of the two requests in one stream the first is looked at here.
                let bytes =
                    if name == "dblreq" && transport == "tcp" { &bytes[..first_request(&bytes)] } else { &bytes[..] };
                match transport {
                    "udp" => lab.datagram(bytes),
                    _ => lab.stream(bytes, piece),
                }
                let seen = lab.outcome(expected == WaitAndClose);
                if seen != expected {
                    println!("{name} over {transport} in pieces of {piece}: {seen:?}, expected {expected:?}");
                    is_good = false;
                }
                if let (Node, [(_, received)]) = (seen, &lab.to_node[..]) {
                    let mut index = sip::Index::new();
                    check_same_call(&index.parse(bytes).unwrap(), received);
                }
                lab.settle();
            }
            good += usize::from(is_good);
        }
        println!("the edge over {transport}: {set} {good}/{}", cases.len());
        assert_eq!(good, cases.len(), "{transport}");
    }
}

fn first_request(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4
}

#[test]
fn every_message_of_rfc_4475_has_its_outcome_on_both_transports() {
    check_set("rfc4475", &RFC4475);
}

#[test]
fn every_message_of_rfc_5118_has_its_outcome_on_both_transports() {
    check_set("rfc5118", &RFC5118);
}

#[test]
fn two_requests_in_one_stream_are_two_and_in_one_datagram_one() {
    let bytes = read("rfc4475", "dblreq");
    let mut lab = Lab::new();
    lab.datagram(&bytes);
    assert_eq!(lab.outcome(false), Final(405));
    lab.settle();
    lab.stream(&bytes, 7);
    assert_eq!((lab.to_node.len(), lab.to_sender.len()), (1, 2), "405 for the REGISTER, 100 for the INVITE");
    assert!(lab.to_node[0].1.starts_with(b"INVITE ") && !lab.is_closed);
    lab.settle();
}

#[test]
fn a_second_copy_changes_nothing() {
    let mut lab = Lab::new();
    for (set, cases) in [("rfc4475", &RFC4475[..]), ("rfc5118", &RFC5118[..])] {
        for &(name, outcome, _) in cases {
            let bytes = read(set, name);
            lab.datagram(&bytes);
            lab.datagram(&bytes);
            let (nodes, answers) = (lab.to_node.len(), lab.to_sender.len());
            match outcome {
                Node => assert_eq!((nodes, answers), (1, 2), "{name}: one INVITE, the 100 twice"),
                Final(_) => assert_eq!((nodes, answers), (0, 2), "{name}: the same answer twice"),
                _ => assert_eq!((nodes, answers), (0, 0), "{name}"),
            }
            if answers == 2 {
                assert_eq!(lab.to_sender[0], lab.to_sender[1], "{name}: also its tag");
            }
            lab.settle();
        }
    }
}

/// Every so manieth mutant: an unoptimised build looks at fewer of them.
const STRIDE: usize = if cfg!(debug_assertions) { 23 } else { 1 };

#[test]
fn mutants_do_no_harm_to_the_edge() {
    let mut lab = Lab::new();
    let (mut mutants, mut at_nodes) = (0_usize, 0_usize);
    for (set, cases) in [("rfc4475", &RFC4475[..]), ("rfc5118", &RFC5118[..])] {
        for (name, ..) in cases {
            let bytes = read(set, name);
            for (_, mutator) in mutate::ALL {
                let first = mutants.checked_rem(STRIDE).unwrap_or(0);
                for mutant in mutator(&bytes).into_iter().skip(first).step_by(STRIDE) {
                    mutants += 1;
                    lab.datagram(&mutant);
                    at_nodes += usize::from(!lab.to_node.is_empty());
                    lab.settle();
                    lab.stream(&mutant, 1_400);
                    lab.settle();
                }
            }
        }
    }
    println!("{mutants} mutants over both transports, {at_nodes} of them reached a node");
    assert!(mutants > 2_000 && at_nodes > 100, "{mutants} {at_nodes}");
}
