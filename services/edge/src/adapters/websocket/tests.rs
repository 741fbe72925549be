//! The machine in virtual time, fed by a writer of client frames of the test's own.

use proptest::prelude::*;

use super::*;

const OPEN: &str = "GET / HTTP/1.1\r\nHost: edge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\
                    Sec-WebSocket-Version: 13\r\n\r\n";
const SIP: &[u8] = b"OPTIONS sip:edge SIP/2.0\r\nCall-ID: 1\r\n\r\n";
const S: u64 = 1_000_000;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        medium @ 126..=65_535 => {
            out.push(0xfe);
            out.extend((medium as u16).to_be_bytes());
        }
        long => {
            out.push(0xff);
            out.extend((long as u64).to_be_bytes());
        }
    }
    let mask = [0x3a, 0x91, 0x07, 0xfe];
    out.extend(mask);
    out.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
    out
}

fn all(socket: &mut WebSocket) -> Vec<Event> {
    std::iter::from_fn(|| socket.poll()).collect()
}

fn give(socket: &mut WebSocket, now: u64, bytes: &[u8]) -> Vec<Event> {
    socket.handle(now, Input::Bytes(bytes));
    all(socket)
}

fn opened() -> WebSocket {
    let mut socket = WebSocket::new(0, WebSocketConfig::default());
    let events = give(&mut socket, 0, OPEN.as_bytes());
    assert!(matches!(&events[..], [Event::Write(answer)] if answer.starts_with(b"HTTP/1.1 101 ")), "{events:?}");
    socket
}

fn message(bytes: &[u8]) -> Event {
    Event::Frame(Frame::Message(Bytes::copy_from_slice(bytes)))
}

fn fault(events: &[Event]) -> (u16, &'static str) {
    match events {
        [.., Event::Write(bytes), Event::Fault(fault)] => {
            assert_eq!(bytes[..], [0x88, 2, (fault.code >> 8) as u8, fault.code as u8]);
            (fault.code, fault.why)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn text_and_binary_messages_come_out_whole_however_the_bytes_are_cut() {
    let mut bytes = OPEN.as_bytes().to_vec();
    bytes.extend(frame(0x81, SIP));
    bytes.extend(frame(0x82, SIP));
    bytes.extend(frame(0x81, b"\r\n\r\n"));
    // In three pieces with a ping between them.
    bytes.extend(frame(0x02, &SIP[..9]));
    bytes.extend(frame(0x89, b"hi"));
    bytes.extend(frame(0x00, &SIP[9..20]));
    bytes.extend(frame(0x80, &SIP[20..]));
    for chunk in [1, 2, 3, 7, 64, bytes.len()] {
        let mut socket = WebSocket::new(0, WebSocketConfig::default());
        let events: Vec<Event> = bytes.chunks(chunk).flat_map(|part| give(&mut socket, 1, part)).collect();
        let pong = Event::Write(write(Opcode::Pong, b"hi"));
        let expected = [message(SIP), message(SIP), Event::Frame(Frame::Ping), pong, message(SIP)];
        assert_eq!(events[1..], expected, "in chunks of {chunk}");
        assert_eq!(socket.buffered(), 0);
    }
}

#[test]
fn what_goes_out_is_text_where_it_is_text() {
    assert_eq!(encode(b"abc")[..], *b"\x81\x03abc");
    assert_eq!(encode(b"\xff\xfe")[..2], [0x82, 2]);
    assert_eq!(encode(&[b'a'; 300])[..4], [0x81, 126, 1, 44]);
    assert_eq!(encode(&vec![b'a'; 70_000])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
}

#[test]
fn faults_end_the_connection_with_their_code() {
    let after = |bytes: &[u8]| fault(&give(&mut opened(), 1, bytes));
    assert_eq!(after(&[0x81, 0x03, b'a', b'b', b'c']), (1002, "unmasked"));
    assert_eq!(after(&frame(0x80, b"x")), (1002, "continuation"));
    assert_eq!(after(&[frame(0x01, b"x"), frame(0x81, b"y")].concat()), (1002, "interleaved"));
    assert_eq!(after(&frame(0x81, b"\xff")), (1007, "not_utf8"));
    assert_eq!(after(&frame(0x88, b"\x03")), (1002, "close_frame"));
    assert_eq!(after(&frame(0x88, &1005u16.to_be_bytes())), (1002, "close_frame"));
    assert_eq!(after(&frame(0x82, &vec![0; MAX_MESSAGE + 1])[..14]), (1009, "too_large"), "from the head alone");
    let crumbs: Vec<u8> =
        std::iter::once(frame(0x01, b"")).chain((0..70).map(|_| frame(0x00, b""))).flatten().collect();
    assert_eq!(after(&crumbs), (1008, "too_many_pieces"));
    let pieces = [frame(0x02, &vec![b'a'; MAX_MESSAGE]), frame(0x80, b"b")].concat();
    assert_eq!(after(&pieces), (1009, "too_large"), "in sum");
}

#[test]
fn a_flood_of_pings_is_answered_up_to_its_limit() {
    let mut socket = opened();
    let sixteen: Vec<u8> = (0..16).flat_map(|_| frame(0x89, b"")).collect();
    assert_eq!(give(&mut socket, 1, &sixteen).len(), 16);
    assert_eq!(give(&mut socket, 1_100_000, &sixteen).len(), 16, "the next second has its own");
    assert_eq!(fault(&give(&mut socket, 1_200_000, &frame(0x89, b""))), (1008, "too_many_pings"));
}

#[test]
fn a_close_is_answered_once_and_nothing_after_it_is_read() {
    let mut socket = opened();
    let bytes = [frame(0x88, b"\x03\xe8bye"), frame(0x81, SIP)].concat();
    let events = give(&mut socket, 1, &bytes);
    let ended = Event::Frame(Frame::Close(Why::Ended { is_clean: true }));
    assert_eq!(events, [Event::Write(write(Opcode::Close, &[3, 0xe8])), ended]);
    assert_eq!(give(&mut socket, 2, &frame(0x81, SIP)), []);
    assert_eq!(socket.deadline(), None);
}

#[test]
fn a_stranger_to_websockets_hears_http_and_is_closed() {
    for (bytes, status) in
        [(&b"OPTIONS sip:edge SIP/2.0\r\n\r\n"[..], "400"), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426")]
    {
        let mut socket = WebSocket::new(0, WebSocketConfig::default());
        let events = give(&mut socket, 0, bytes);
        let [Event::Write(answer), Event::Fault(_)] = &events[..] else { panic!("{events:?}") };
        assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{answer:?}");
    }
}

#[test]
fn every_wait_has_an_end() {
    // The upgrade, however steadily it trickles.
    let mut socket = WebSocket::new(0, WebSocketConfig::default());
    assert_eq!(give(&mut socket, 1_900_000, b"GET / HT"), []);
    assert_eq!(socket.deadline(), Some(2 * S));
    socket.handle(2 * S, Input::Tick);
    assert_eq!(all(&mut socket), [Event::Frame(Frame::Close(Why::Slow))]);

    // The first message: pings do not count.
    let mut socket = opened();
    assert_eq!(give(&mut socket, 4 * S, &frame(0x89, b"")).len(), 1);
    assert_eq!(socket.deadline(), Some(5 * S));
    socket.handle(5 * S, Input::Tick);
    assert_eq!(all(&mut socket), [Event::Frame(Frame::Close(Why::Idle))]);

    // A message in pieces: control frames between them do not restart its clock.
    let mut socket = opened();
    give(&mut socket, 0, &frame(0x81, SIP));
    give(&mut socket, S, &frame(0x01, b"OPTIONS "));
    give(&mut socket, 5 * S, &frame(0x89, b""));
    assert_eq!(socket.deadline(), Some(6 * S));
    socket.handle(6 * S, Input::Tick);
    assert_eq!(all(&mut socket), [Event::Frame(Frame::Close(Why::Slow))]);
}

#[test]
fn a_quiet_client_is_pinged_and_a_dead_one_is_closed() {
    let mut socket = opened();
    give(&mut socket, 0, &frame(0x81, SIP));
    assert_eq!(socket.deadline(), Some(45 * S));
    socket.handle(45 * S, Input::Tick);
    assert_eq!(all(&mut socket), [Event::Write(write(Opcode::Ping, b""))]);
    assert_eq!(socket.deadline(), Some(120 * S));
    give(&mut socket, 46 * S, &frame(0x8a, b""));
    assert_eq!(socket.deadline(), Some(91 * S), "the pong is a sign of life");
    socket.handle(91 * S, Input::Tick);
    all(&mut socket);
    socket.handle(166 * S, Input::Tick);
    assert_eq!(all(&mut socket), [Event::Frame(Frame::Close(Why::Idle))]);
}

#[test]
fn the_end_of_the_stream_is_clean_only_between_messages() {
    let end = |bytes: &[u8]| {
        let mut socket = opened();
        give(&mut socket, 1, bytes);
        socket.handle(2, Input::End);
        all(&mut socket)
    };
    let ended = |is_clean| vec![Event::Frame(Frame::Close(Why::Ended { is_clean }))];
    assert_eq!(end(&frame(0x81, SIP)), ended(true));
    assert_eq!(end(&frame(0x81, SIP)[..20]), ended(false));
    assert_eq!(end(&frame(0x01, SIP)), ended(false));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_keep_more_than_a_message_and_a_chunk(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20), masked in any::<bool>()) {
        let mut socket = opened();
        let mut now = 1;
        for mut chunk in chunks {
            if masked && chunk.len() > 1 {
                // Near to a frame, so that more than the first byte is looked at.
                chunk[0] &= 0x8f;
                chunk[1] |= 0x80;
            }
            now += 1_000;
            socket.handle(now, Input::Bytes(&chunk));
            while let Some(event) = socket.poll() {
                if let Event::Frame(Frame::Message(message)) = &event {
                    prop_assert!(message.len() <= MAX_MESSAGE);
                }
            }
            prop_assert!(socket.buffered() <= MAX_MESSAGE + 300 + 14);
        }
        socket.handle(now + 500 * S, Input::Tick);
        while socket.poll().is_some() {}
        prop_assert_eq!(socket.deadline(), None, "whatever was sent, it ends");
    }
}
