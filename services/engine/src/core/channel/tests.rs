use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::identity::Keyring;
use domain::{CallId, LegId, Now};
use esl::{Event, Format, Frame, Framer, Index, Kind, Limits, fields as f};
use schemas::{ChannelEvent, Event as _};

use super::table::MAX_CHANNELS;
use super::*;

const A: &str = "1923e4aa-0000-4000-8000-000000000001";
const B: &str = "114d73bb-0000-4000-8000-000000000002";
const CORE: &str = "a16d571c-8575-4042-b397-ef41778b2edf";

fn keys() -> Keyring {
    Keyring::new(vec![("20261101".into(), vec![7; 32])]).expect("a key")
}

fn now() -> Now {
    Now { wall_us: 1_795_226_345_000_000, mono_us: 9_000_000 }
}

fn with<R>(text: &str, look: impl FnOnce(Event<'_>) -> R) -> R {
    let mut index = Index::new();
    look(index.read(text.as_bytes(), Format::Plain).expect("an event"))
}

fn event(name: &str, uuid: &str, sequence: u64, more: &str) -> String {
    format!(
        "Event-Name: {name}\nCore-UUID: {CORE}\nEvent-Sequence: {sequence}\nEvent-Date-Timestamp: 1795226344911566\nUnique-ID: {uuid}\n\
         Caller-Profile-Index: 1\nCaller-Channel-Created-Time: 1795226344811566\n{more}\n"
    )
}

fn take(table: &mut Table, text: &str) -> Result<ChannelEvent, Skipped> {
    with(text, |event| table.take(&event, &keys(), now()))
}

fn inbound(uuid: &str) -> String {
    format!("Call-Direction: inbound\nChannel-Call-UUID: {uuid}\nvariable_uuid: {uuid}\n")
}

fn outbound(uuid: &str, call: &str) -> String {
    format!(
        "Call-Direction: outbound\nChannel-Call-UUID: {call}\nOther-Type: originator\nOther-Leg-Unique-ID: {A}\nvariable_uuid: {uuid}\n"
    )
}

/// Headers of the list that have no field of their own, each with its reason.
const WITHOUT_FIELD: [(&str, &str); 28] = [
    (f::PLAYBACK_FILE_TYPE, "the path says it"),
    (f::SWITCHNAME, "the node's id names it"),
    (f::IPV6, "the schema keeps the IPv4 address"),
    (f::PRESENCE_CALL_DIRECTION, "equal to Call-Direction"),
    (f::HIT_DIALPLAN, "a state of the switch's own"),
    (f::BRIDGE_UUID, "the legs' ids are in other_leg and bridge_a/b"),
    (f::SIGNAL_BOND, "as bridge_uuid"),
    (f::ORIGINATOR, "decides whose call it is"),
    (f::LAST_BRIDGE_TO, "as bridge_uuid"),
    (f::DIALSTATUS, "an older word for originate_disposition"),
    (f::SIP_HANGUP_PHRASE, "follows from sip_term_status"),
    (f::CALLER_DIRECTION, "equal to Call-Direction"),
    (f::CALLER_LOGICAL_DIRECTION, "equal to Call-Direction until a transfer"),
    (f::CALLER_ORIG_ID_NAME, "the edge reports the caller before translation"),
    (f::CALLER_ORIG_ID_NUMBER, "the edge reports the caller before translation"),
    (f::CALLER_TRANSFER_SOURCE, "variable_transfer_source is passed on"),
    (f::SIP_FROM_HOST, "part of sip_from_uri"),
    (f::SIP_FROM_DISPLAY, "the caller's name is in the profile"),
    (f::SIP_TO_HOST, "part of sip_to_uri"),
    (f::SIP_DESTINATION_URL, "part of sip_req_uri"),
    (f::SIP_CONTACT_HOST, "part of sip_contact_uri"),
    (f::SIP_CONTACT_PORT, "part of sip_contact_uri"),
    (f::DTMF_TYPE, "each key tells its own source"),
    (f::RTP_USE_SSRC, "RTCP reports name it"),
    (f::ORIGINAL_CALL_STATE, "the event before said it"),
    (f::CALL_STATE_NUMBER, "the name says it"),
    (f::READ_TERMINATOR, "the menu's decision tells the input"),
    (f::PLAYBACK_MS, "duration_us tells how long it played"),
];

/// The promise of `facts` §4.2, kept header by header: change one, and the record changes.
#[test]
fn every_header_of_the_list_reaches_the_record_or_says_why_not() {
    let names: Vec<&str> = f::CHANNEL_HEADERS.iter().copied().filter(|name| *name != f::EVENT_NAME).collect();
    let build = |event_name: &str, odd: Option<&str>| {
        let mut text = format!("Event-Name: {event_name}\nvariable_uuid: {A}\n");
        for (n, name) in names.iter().enumerate() {
            let mut value = (100 + n).to_string();
            if odd == Some(name) {
                value = if value.ends_with('7') { "8".into() } else { "7".into() };
            }
            // A flag is true or false, and this one decides about another part.
            if matches!(*name, f::CALLER_SCREEN_BIT | f::CALLER_PRIVACY_NAME | f::CALLER_PRIVACY_NUMBER) {
                value = (odd == Some(name)).to_string();
            }
            if *name == f::CALLER_PROFILE_INDEX && odd != Some(name) {
                value = "1".into();
            }
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        with(&text, |event| read::channel_event(&event, now()))
    };
    let excused: BTreeMap<&str, &str> = WITHOUT_FIELD.into_iter().collect();
    let fallback = [f::VAR_HANGUP_CAUSE, f::SOFIA_PROFILE_NAME, f::TRUNKLINE_CALL, f::TRUNKLINE_CONTROL];
    for name in &names {
        let reaches = ["CHANNEL_EXECUTE", "DTMF", "RECV_RTCP_MESSAGE"]
            .iter()
            .any(|kind| build(kind, None) != build(kind, Some(name)));
        let expected = !excused.contains_key(name) && !fallback.contains(name);
        assert_eq!(reaches, expected, "{name} (excuse: {:?})", excused.get(name));
    }
}

#[test]
fn both_legs_of_a_bridged_call_are_one_call_under_the_edges_id() {
    let mut table = Table::default();
    let call = CallId::new(1_795_226_344_000_000, [3; 10]);
    let leg = LegId::edge(&call, "1-6175@127.0.0.1", "tag", 1, 0);
    let header = format!("variable_sip_h_X-Trunkline-Call: {}\n", keys().sign(&call, &leg));
    let first = take(&mut table, &event("CHANNEL_CREATE", A, 1, &(inbound(A) + &header))).expect("published");
    assert_eq!((first.call_root_id, first.header_state.as_deref()), (call.to_string(), Some("valid")));
    // The outgoing channel is announced before it names its call, and names itself again when the two part.
    for (n, (name, names)) in
        [("CHANNEL_OUTGOING", B), ("CHANNEL_CREATE", A), ("CHANNEL_HANGUP_COMPLETE", B)].into_iter().enumerate()
    {
        let out = take(&mut table, &event(name, B, 2 + n as u64, &(outbound(B, names) + &header))).expect("published");
        assert_eq!(
            (out.call_root_id.as_str(), out.header_state.as_deref()),
            (call.to_string().as_str(), Some("copied")),
            "{name}"
        );
        assert_eq!((out.leg_id.as_str(), out.edge_leg_id), (B, Some(leg.to_string())));
        out_check(&take(&mut table, &event("CHANNEL_CALLSTATE", A, 90 + n as u64, &inbound(A))).expect("published"));
    }
}

/// Valid but for the node's id, which its owner adds.
fn out_check(event: &ChannelEvent) {
    let whole = ChannelEvent { node_id: "node-a".into(), ..event.clone() };
    assert_eq!(whole.check(), Ok(()), "{event:?}");
}

#[test]
fn a_channel_that_was_announced_alone_joins_its_call_at_creation() {
    let mut table = Table::default();
    let a = take(&mut table, &event("CHANNEL_CREATE", A, 1, &inbound(A))).expect("published");
    let alone = format!("Call-Direction: outbound\nChannel-Call-UUID: {B}\n");
    let announced = take(&mut table, &event("CHANNEL_OUTGOING", B, 2, &alone)).expect("published");
    assert_ne!(announced.call_root_id, a.call_root_id);
    let created = take(&mut table, &event("CHANNEL_CREATE", B, 3, &outbound(B, A))).expect("published");
    assert_eq!(created.call_root_id, a.call_root_id);
}

#[test]
fn a_restarted_engine_finds_the_same_id_for_an_unnamed_channel() {
    let ids: Vec<String> = (0..2)
        .map(|_| {
            take(&mut Table::default(), &event("CHANNEL_PROGRESS", A, 7, &inbound(A))).expect("published").call_root_id
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0], CallId::for_channel(1_795_226_344_811, CORE, A).to_string());
}

#[test]
fn what_cannot_be_attributed_or_recognised_is_not_published() {
    let mut table = Table::default();
    let thin = format!("Call-Direction: inbound\nChannel-Call-UUID: {A}\n");
    assert_eq!(take(&mut table, &event("CHANNEL_CALLSTATE", A, 1, &thin)), Err(Skipped::Unattributed));
    assert_eq!(
        take(&mut table, "Event-Name: MODULE_LOAD\nCore-UUID: x\nEvent-Sequence: 4\n\n"),
        Err(Skipped::NoChannel)
    );
    assert_eq!(take(&mut table, &event("CHANNEL_CREATE", A, 0, &inbound(A))), Err(Skipped::NoSequence));
    assert_eq!(table.len(), 0);
}

#[test]
fn an_application_tells_how_long_it_ran_on_the_nodes_clock() {
    let mut table = Table::default();
    let app = |uuid: &str| inbound(A) + &format!("Application: playback\nApplication-UUID: {uuid}\n");
    take(&mut table, &event("CHANNEL_EXECUTE", A, 1, &app("u-1"))).expect("published");
    let later = event("CHANNEL_EXECUTE_COMPLETE", A, 2, &app("u-1")).replace("1795226344911566", "1795226345411566");
    let done = take(&mut table, &later).expect("published");
    assert_eq!(done.application.and_then(|a| a.duration_us), Some(500_000));
}

#[test]
fn a_key_of_a_sensitive_input_is_withheld() {
    let mut table = Table::default();
    take(&mut table, &event("CHANNEL_CREATE", A, 1, &inbound(A))).expect("published");
    table.get_mut(A).expect("known").sensitive = true;
    assert_eq!(take(&mut table, &event("DTMF", A, 2, "DTMF-Digit: 4\n")), Err(Skipped::Sensitive));
    table.get_mut(A).expect("known").sensitive = false;
    assert_eq!(
        take(&mut table, &event("DTMF", A, 3, "DTMF-Digit: 4\n")).expect("published").dtmf.expect("a key").digit,
        "4"
    );
}

#[test]
fn the_table_never_grows_beyond_its_bound() {
    let mut table = Table::default();
    for n in 0..MAX_CHANNELS + 50 {
        let uuid = format!("{n:08x}-0000-4000-8000-000000000001");
        take(&mut table, &event("CHANNEL_CREATE", &uuid, 1 + n as u64, &inbound(&uuid))).expect("published");
    }
    assert_eq!(table.len(), MAX_CHANNELS);
}

#[test]
fn a_destroyed_channel_leaves_and_one_that_is_not_listed_after_a_lost_link_too() {
    let mut table = Table::default();
    table.connected();
    take(&mut table, &event("CHANNEL_CREATE", A, 1, &inbound(A))).expect("published");
    take(&mut table, &event("CHANNEL_CREATE", B, 2, &inbound(B))).expect("published");
    take(&mut table, &event("CHANNEL_DESTROY", A, 3, &inbound(A))).expect("published");
    assert_eq!(table.len(), 1);
    table.connected();
    let new = "00000000-0000-4000-8000-000000000003";
    take(&mut table, &event("CHANNEL_CREATE", new, 4, &inbound(new))).expect("published");
    assert_eq!(
        table.keep_listed(|_| false),
        [B],
        "what was heard since the connection stays although the list is older"
    );
    assert_eq!(table.len(), 1);
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/esl-recordings");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no recorded sessions beside the repository");
    }
    found
}

fn frames(session: &Path) -> Vec<Frame> {
    let text = std::fs::read_to_string(session).expect("a recording");
    let mut framer = Framer::new(Limits::default());
    for line in text.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        if entry["dir"] == "recv" {
            framer.push(entry["frame"].as_str().expect("a frame").as_bytes());
        }
    }
    std::iter::from_fn(|| framer.next().expect("well formed")).collect()
}

#[test]
fn every_recorded_channel_event_becomes_a_valid_record_and_all_channels_leave() {
    for session in recordings() {
        let (mut table, mut index, mut encoder) =
            (Table::default(), Index::new(), schemas::Encoder::<ChannelEvent>::new());
        let mut calls: BTreeMap<String, String> = BTreeMap::new();
        let mut published = 0;
        for frame in frames(&session) {
            let format = match frame.kind() {
                Kind::EventPlain => Format::Plain,
                Kind::EventJson => Format::Json,
                _ => continue,
            };
            let event = index.read(frame.body(), format).expect("an event");
            // CHANNEL_STATE, CODEC and the like are in the recordings, and not in our subscription.
            if !crate::core::subscription::EVENTS.contains(&event.name()) {
                continue;
            }
            match table.take(&event, &keys(), now()) {
                Ok(record) => {
                    out_check(&record);
                    let bytes = encoder.encode(&record).expect("encodes").to_vec();
                    assert_eq!(schemas::decode::<ChannelEvent>(&bytes).expect("decodes"), record);
                    calls.insert(record.leg_id.clone(), record.call_root_id.clone());
                    published += 1;
                }
                // A dial string that failed before there was a channel leaves nothing but a DESTROY without a time or a caller.
                Err(why) => assert!(
                    why == Skipped::NoChannel
                        || (why == Skipped::Unattributed
                            && (event.name() == "CHANNEL_CALLSTATE" || event.raw(f::TIME_CREATED).is_none())),
                    "{}: {} {why:?}",
                    session.display(),
                    event.name()
                ),
            }
        }
        let name = session.file_stem().expect("a name").to_string_lossy().into_owned();
        if name.starts_with("bridge") || name == "blind-transfer" || name == "caller-cancels-while-ringing" {
            let distinct: std::collections::BTreeSet<&String> = calls.values().collect();
            assert_eq!((calls.len(), distinct.len()), (2, 1), "{name}: two legs, one call");
        }
        let open = ["node-killed-mid-call", "outbound-", "originate-duplicate-uuid", "engine-lease", "parked-lease"];
        if published > 0 && !open.iter().any(|prefix| name.starts_with(prefix)) {
            assert_eq!(table.len(), 0, "{name}: a channel was left over");
        }
    }
}
