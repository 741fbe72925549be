//! Carriers over real loopback sockets: against each other's called side, and against small far ends that do one thing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sim::carrier::{
    Attack, CallPlan, Carrier, CarrierConfig, CarrierHandle, Ends, Generator, Hold, Key, Kind, Mix, Progress,
    TrunkCaller,
};
use sim::ledger::{Call, Counters, Ledger, Released};
use sim::sip::{Challenge, Credentials, Dialog, Endpoint, Incoming, Message, ServerTx, digest};
use tokio_util::sync::CancellationToken;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn config(id: &str, edge: SocketAddr, ledger: &Ledger) -> CarrierConfig {
    let seed = u64::from(id.as_bytes()[0]);
    CarrierConfig::new(id, loopback(), edge, seed, ledger.clone())
}

fn carrier(id: &str, edge: SocketAddr, ledger: &Ledger) -> CarrierHandle {
    Carrier::start(config(id, edge, ledger)).expect("a loopback port")
}

/// `north` calls `south` directly.
fn pair() -> (CarrierHandle, CarrierHandle, Ledger) {
    let ledger = Ledger::new();
    let south = carrier("south", loopback(), &ledger);
    let north = carrier("north", south.addr(), &ledger);
    (north, south, ledger)
}

fn plan(call_id: &str, extension: &str) -> CallPlan {
    CallPlan::new(call_id, "+4930111", format!("+4922155{extension}"), Duration::from_millis(300))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn closed(ledger: &Ledger, call_id: &str) -> Call {
    until("the call is closed", || ledger.get(call_id).is_some_and(|call| call.closed)).await;
    ledger.get(call_id).expect("just seen")
}

fn balanced(ledger: &Ledger) {
    assert_eq!(ledger.counters(), Counters::recount(&ledger.snapshot()));
}

#[tokio::test]
async fn an_answered_call_is_ended_by_its_caller_after_its_hold() {
    let (north, _south, ledger) = pair();
    north.place(plan("a1", "8001")).await.unwrap();
    let call = closed(&ledger, "a1").await;
    assert_eq!((call.final_code, call.released), (Some(200), Some(Released::Caller)));
    let (ringing, answer, end) = (call.ringing.unwrap(), call.answer.unwrap(), call.end.unwrap());
    assert!(call.invite <= ringing && ringing < answer && answer < end);
    assert!((200_000..1_200_000).contains(&(answer.mono_us - call.invite.mono_us)), "80xx rings 0.2 to 1 s");
    assert!(end.mono_us - answer.mono_us >= 299_000, "held too short");
    until("the leg is closed", || ledger.legs_of("a1").iter().all(|leg| leg.closed)).await;
    let legs = ledger.legs_of("a1");
    assert_eq!((legs.len(), legs[0].final_code, legs[0].node), (1, Some(200), Some(north.addr())));
    balanced(&ledger);
}

#[tokio::test]
async fn refusals_keep_their_codes() {
    let (north, _south, ledger) = pair();
    for (extension, code) in [("8101", 486), ("8301", 603), ("8401", 503), ("1234", 404)] {
        north.place(plan(extension, extension)).await.unwrap();
        let call = closed(&ledger, extension).await;
        assert_eq!((call.final_code, call.answered()), (Some(code), false));
        assert_eq!(ledger.legs_of(extension)[0].final_code, Some(code));
    }
    assert_eq!(ledger.counters().ordinary.failed, 4);
    balanced(&ledger);
}

#[tokio::test]
async fn a_caller_that_nobody_answers_gives_up() {
    let (north, _south, ledger) = pair();
    let mut plan = plan("n1", "8201");
    plan.cancel_after = Some(Duration::from_millis(150));
    north.place(plan).await.unwrap();
    let call = closed(&ledger, "n1").await;
    assert_eq!((call.final_code, call.cancelled, call.answered()), (Some(487), true, false));
    let leg = &ledger.legs_of("n1")[0];
    assert_eq!((leg.final_code, leg.cancelled), (Some(487), true));
}

#[tokio::test]
async fn the_called_side_may_hang_up_and_early_media_counts_as_ringing() {
    let (north, _south, ledger) = pair();
    let mut far_ends = plan("f1", "8501");
    far_ends.ends = Ends::Far;
    far_ends.hold = Duration::from_secs(60);
    north.place(far_ends).await.unwrap();
    north.place(plan("e1", "8601")).await.unwrap();
    assert_eq!(closed(&ledger, "f1").await.released, Some(Released::Far));
    let early = closed(&ledger, "e1").await;
    assert!(early.ringing.is_some() && early.answered());
    until("the legs are closed", || ledger.counters().legs.open == 0).await;
    balanced(&ledger);
}

#[tokio::test]
async fn nobody_there_is_a_failure_without_a_code() {
    let ledger = Ledger::new();
    // Bound and silent, so that nobody else can take the port.
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let mut config = config("north", silent.local_addr().unwrap(), &ledger);
    config.timing.t1 = Duration::from_millis(5);
    let north = Carrier::start(config).unwrap();
    north.place(plan("s1", "8001")).await.unwrap();
    let call = closed(&ledger, "s1").await;
    assert_eq!((call.final_code, call.answered()), (None, false));
}

/// A far end that a test drives by hand.
struct FarEnd {
    endpoint: Endpoint,
}

impl FarEnd {
    fn new() -> Self {
        Self { endpoint: Endpoint::bind(loopback(), 99, true).expect("a loopback port") }
    }

    fn calls_here(&self, ledger: &Ledger) -> CarrierHandle {
        let mut config = config("north", self.endpoint.local(), ledger);
        config.credentials = Some(Credentials { user: "north".into(), password: "right".into() });
        Carrier::start(config).expect("a loopback port")
    }

    async fn next(&mut self) -> Incoming {
        tokio::time::timeout(Duration::from_secs(10), self.endpoint.next()).await.expect("something comes in")
    }

    async fn request(&mut self, method: &str) -> (ServerTx, Message) {
        loop {
            if let Incoming::Request { tx, message, .. } = self.next().await {
                assert_eq!(message.method(), Some(method));
                return (tx, message);
            }
        }
    }

    async fn final_response(&mut self) -> Message {
        loop {
            if let Incoming::Response { message, .. } = self.next().await
                && message.code() >= 200
            {
                return message;
            }
        }
    }

    fn answer(&mut self, tx: ServerTx, invite: &Message, code: u16) -> Dialog {
        let contact = format!("<sip:far@{}>", self.endpoint.local());
        let mut answer = Message::response_to(invite, code, "Answer", Some("far"));
        answer.add("Contact", contact.as_str());
        self.endpoint.respond(tx, &answer);
        Dialog::callee(invite, "far", &contact, loopback())
    }

    fn challenge(&mut self, tx: ServerTx, invite: &Message) {
        let challenge =
            Challenge { realm: "fs1".into(), nonce: "n1".into(), opaque: None, qop_auth: true, proxy: true };
        let mut answer = Message::response_to(invite, 407, "Proxy Authentication Required", Some("far"));
        answer.add("Proxy-Authenticate", challenge.header_value());
        self.endpoint.respond(tx, &answer);
    }
}

#[tokio::test]
async fn a_challenged_call_is_repeated_with_credentials_and_is_one_call() {
    let ledger = Ledger::new();
    let mut far = FarEnd::new();
    let north = far.calls_here(&ledger);
    north.place(plan("c1", "7001")).await.unwrap();
    let (tx, first) = far.request("INVITE").await;
    far.challenge(tx, &first);
    let (tx, second) = far.request("INVITE").await;
    assert_eq!((second.call_id(), second.from_tag()), (first.call_id(), first.from_tag()));
    assert_eq!(second.cseq(), Some((2, "INVITE")));
    let value = second.get("Proxy-Authorization").unwrap();
    let right = Credentials { user: "north".into(), password: "right".into() };
    assert!(digest::verify(value, "INVITE", "fs1", &right, |nonce| nonce == "n1"));
    far.answer(tx, &second, 200);
    let (tx, bye) = far.request("BYE").await;
    assert_eq!(bye.cseq(), Some((3, "BYE")));
    far.answer(tx, &bye, 200);
    let call = tokio::select! { call = closed(&ledger, "c1") => call, _ = far.next() => panic!("nothing more comes") };
    assert!(call.challenged && call.answered());
    assert_eq!((ledger.counters().calls().offered, ledger.counters().challenged), (1, 1));
}

#[tokio::test]
async fn a_second_challenge_is_a_failure() {
    let ledger = Ledger::new();
    let mut far = FarEnd::new();
    let north = far.calls_here(&ledger);
    north.place(plan("c2", "7001")).await.unwrap();
    for _ in 0..2 {
        let (tx, invite) = far.request("INVITE").await;
        far.challenge(tx, &invite);
    }
    let call = closed(&ledger, "c2").await;
    assert_eq!((call.final_code, call.challenged, call.answered()), (Some(407), true, false));
}

#[tokio::test]
async fn keys_travel_as_info_in_their_order() {
    let ledger = Ledger::new();
    let mut far = FarEnd::new();
    let north = far.calls_here(&ledger);
    let mut plan = plan("k1", "1001");
    plan.keys = ['1', '2'].map(|digit| Key { after: Duration::from_millis(40), digit }).to_vec();
    north.place(plan).await.unwrap();
    let (tx, invite) = far.request("INVITE").await;
    far.answer(tx, &invite, 200);
    for digit in ['1', '2'] {
        let (tx, info) = far.request("INFO").await;
        assert_eq!(info.get("Content-Type"), Some("application/dtmf-relay"));
        assert!(String::from_utf8(info.body.clone()).unwrap().starts_with(&format!("Signal={digit}\r\n")));
        far.answer(tx, &info, 200);
    }
}

#[tokio::test]
async fn an_answer_that_crosses_the_cancel_is_answered_and_hung_up() {
    let ledger = Ledger::new();
    let mut far = FarEnd::new();
    let north = far.calls_here(&ledger);
    let mut plan = plan("g1", "3001");
    plan.cancel_after = Some(Duration::from_millis(50));
    north.place(plan).await.unwrap();
    let (tx, invite) = far.request("INVITE").await;
    while !matches!(far.next().await, Incoming::Cancelled { .. }) {}
    far.answer(tx, &invite, 200);
    let (tx, bye) = far.request("BYE").await;
    // A far end that has forgotten the call ends it as well.
    far.answer(tx, &bye, 481);
    let call = tokio::select! { call = closed(&ledger, "g1") => call, _ = far.next() => panic!("nothing more comes") };
    assert!(call.cancelled && call.answered());
    assert_eq!((call.final_code, call.released), (Some(200), Some(Released::Caller)));
}

#[tokio::test]
async fn the_far_end_may_ask_inside_the_call_and_end_it() {
    let ledger = Ledger::new();
    let mut far = FarEnd::new();
    let north = far.calls_here(&ledger);
    let mut plan = plan("r1", "3001");
    plan.hold = Duration::from_secs(60);
    north.place(plan).await.unwrap();
    let (tx, invite) = far.request("INVITE").await;
    let mut dialog = far.answer(tx, &invite, 200);
    while !matches!(far.next().await, Incoming::Ack { .. }) {}
    for method in ["OPTIONS", "UPDATE", "INFO", "INVITE"] {
        let asked = dialog.request(method);
        let cseq = dialog.local_cseq;
        let tx = far.endpoint.send_request(asked, north.addr());
        let answer = far.final_response().await;
        assert_eq!((answer.code(), answer.cseq()), (200, Some((cseq, method))));
        if method == "INVITE" {
            assert_eq!(answer.get("Content-Type"), Some("application/sdp"));
            far.endpoint.ack(tx, dialog.ack(cseq), north.addr());
        }
    }
    let mut wrong = dialog.clone();
    wrong.local = wrong.local.replace("far", "other");
    far.endpoint.send_request(wrong.request("BYE"), north.addr());
    assert_eq!(far.final_response().await.code(), 481, "a BYE of another dialog");
    far.endpoint.send_request(dialog.request("BYE"), north.addr());
    assert_eq!(far.final_response().await.code(), 200);
    let call = closed(&ledger, "r1").await;
    assert_eq!(call.released, Some(Released::Far));
}

#[tokio::test]
async fn everything_can_be_hung_up_and_calls_can_be_sent_elsewhere() {
    let (north, south, ledger) = pair();
    let mut talking = plan("h1", "8001");
    talking.hold = Duration::from_secs(600);
    north.place(talking).await.unwrap();
    north.place(plan("h2", "8201")).await.unwrap();
    until("one talks and one rings", || {
        ledger.get("h1").is_some_and(|call| call.answered()) && ledger.get("h2").is_some_and(|c| c.ringing.is_some())
    })
    .await;
    assert_eq!((north.open().await.unwrap().placed, south.open().await.unwrap().received), (2, 2));
    north.hang_up_all().await.unwrap();
    assert_eq!(closed(&ledger, "h1").await.released, Some(Released::Caller));
    assert_eq!(closed(&ledger, "h2").await.final_code, Some(487));

    let west = carrier("west", loopback(), &ledger);
    north.set_edge(west.addr()).await.unwrap();
    north.place(plan("h3", "8101")).await.unwrap();
    closed(&ledger, "h3").await;
    assert_eq!(&*ledger.legs_of("h3")[0].trunk, "west");

    north.stop();
    let deadline = Instant::now() + Duration::from_secs(10);
    while north.place(plan("h4", "8101")).await.is_ok() {
        assert!(Instant::now() < deadline, "a stopped carrier takes no calls");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_attack_is_paced_marked_and_can_be_stopped() {
    let (north, _south, ledger) = pair();
    let mut attack = Attack::new(5, "+4930666", 1000.0, 10_000);
    attack.prefix = "+88213".into();
    let burst = attack.start(north);
    until("ten calls of the burst were placed", || burst.placed() >= 10).await;
    burst.stop();
    let placed = burst.finished().await;
    assert!((10..10_000).contains(&placed));
    until("all are known", || ledger.counters().attack.offered == placed).await;
    assert_eq!(ledger.counters().ordinary.offered, 0);
    let mut times = Vec::new();
    ledger.for_each_from(0, |call| times.push(call.invite.mono_us));
    assert!(times.windows(10).all(|w| w[9] - w[0] >= 9 * 15_000), "never much faster than 50 a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_calls_at_once_all_balance() {
    let (north, south, ledger) = pair();
    let trunks = vec![TrunkCaller { id: "north".into(), credentials: None }];
    let mut generator = Generator::new(42, 1000.0, trunks);
    // Echo extensions moved to where a called carrier answers, rings or refuses.
    generator.mix = Mix::only(Kind::Echo);
    generator.hold = Hold::fixed(Duration::from_millis(1500));
    let progress = Arc::new(Progress::default());
    let extensions = ["8001", "8001", "8001", "8101", "8501"];
    for (index, planned) in generator.plans(2000).enumerate() {
        let mut plan = planned.plan;
        plan.to = format!("+4922155{}", extensions[index % extensions.len()]);
        north.place(plan).await.unwrap();
    }
    until("all calls are over", || {
        let calls = ledger.counters().calls();
        calls.offered == 2000 && calls.open == 0 && ledger.counters().legs.open == 0
    })
    .await;
    let counters = ledger.counters();
    assert_eq!((counters.ordinary.answered, counters.ordinary.failed), (1600, 400));
    assert_eq!(counters.legs.offered, 2000);
    balanced(&ledger);

    // The paced run places what it was asked to and stops when told.
    let stop = CancellationToken::new();
    let placed = generator.run(&[south], 5_000, Some(5_050), progress.clone(), stop.clone()).await.unwrap();
    assert_eq!((placed, progress.placed()), (50, 50));
    stop.cancel();
    assert_eq!(generator.run(&[north], 6_000, None, progress, stop).await, Ok(0));
}
