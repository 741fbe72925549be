//! Faults, commands and scale: what no recording of a healthy FreeSWITCH shows.

use std::time::Duration;

use sim::sip::{Challenge, Credentials, Message};
use sim::switch::{Dialplan, Media, Overload, Switch, SwitchConfig, SwitchHandle};
use tokio::net::TcpListener;

use crate::caller::{Caller, SIPP, Style, TRUNK};
use crate::client::{Client, PATIENCE};
use crate::far_end::{FarEnd, Manner};

async fn switch() -> SwitchHandle {
    Switch::start(SwitchConfig::default()).await.unwrap()
}

async fn with_gateway(far: &FarEnd) -> SwitchHandle {
    let switch = switch().await;
    switch.set_gateway(far.address).await;
    switch
}

/// Until the switch has no channel left.
async fn quiet(switch: &SwitchHandle) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while switch.stats().channels > 0 {
        assert!(tokio::time::Instant::now() < deadline, "channels are left: {:?}", switch.stats().channels);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_killed_switch_frees_its_ports_and_comes_back_as_another_core() {
    let switch = switch().await;
    let mut listener = Client::listening(switch.esl_addr(), "plain HEARTBEAT").await;
    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    caller.call("3001");
    caller.answered().await;
    let before = switch.stats();
    assert_eq!((before.channels, before.calls, before.alive), (1, 1, true));
    switch.kill().await;
    while listener.next().await.is_some() {}
    drop(std::net::UdpSocket::bind(switch.sip_addr()).expect("the SIP port is free"));
    assert!(tokio::net::TcpStream::connect(switch.esl_addr()).await.is_err(), "the ESL port is closed");
    assert!(!switch.stats().alive);
    switch.restart().await.unwrap();
    let after = switch.stats();
    assert_ne!(after.core_uuid, before.core_uuid);
    assert_eq!((after.channels, after.calls, after.lives), (0, 1, 2));
    let mut listener = Client::listening(switch.esl_addr(), "plain HEARTBEAT").await;
    let beat = listener.event_named("HEARTBEAT").await;
    assert_eq!((beat.get("Core-UUID"), beat.get("Session-Since-Startup")), (Some(after.core_uuid.as_str()), Some("0")));
}

#[tokio::test]
async fn a_hanging_switch_answers_nobody_and_goes_on_when_resumed() {
    let switch = switch().await;
    let mut listener = Client::listening(switch.esl_addr(), "plain CHANNEL_PARK").await;
    switch.hang().await;
    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    caller.call("1001");
    listener.send("api status\n\n").await;
    let silence = tokio::time::timeout(Duration::from_millis(400), listener.next()).await;
    assert!(silence.is_err(), "a hanging switch said {silence:?}");
    let mut newcomer = Client::connect(switch.esl_addr()).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), newcomer.next()).await.is_err(), "no banner");
    switch.resume().await;
    caller.linger(Duration::from_millis(100)).await;
    listener.event_named("CHANNEL_PARK").await;
    assert!(newcomer.next().await.is_some());
    // The caller's retransmissions are one call.
    assert_eq!((switch.stats().invites, switch.invites_of("call-1001@127.0.0.1")), (1, 1));
}

#[tokio::test]
async fn an_overloaded_or_draining_switch_refuses_new_calls_only() {
    let switch = switch().await;
    let mut first = Caller::new(switch.sip_addr(), SIPP);
    first.call("3001");
    first.answered().await;
    for refusing in [true, false] {
        if refusing {
            switch.overload(Overload::Refuse).await;
        } else {
            switch.overload(Overload::Off).await;
            switch.drain(true).await;
        }
        let mut other = Caller::new(switch.sip_addr(), SIPP);
        other.call("3002");
        assert_eq!(other.final_response().await.code(), 503);
    }
    switch.drain(false).await;
    switch.overload(Overload::Slow(Duration::from_millis(300))).await;
    let mut slow = Caller::new(switch.sip_addr(), SIPP);
    let begun = std::time::Instant::now();
    slow.call("3003");
    slow.answered().await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let mut impatient = Caller::new(switch.sip_addr(), SIPP);
    impatient.call("3004");
    impatient.linger(Duration::from_millis(100)).await;
    impatient.cancel();
    assert_eq!(impatient.final_response().await.code(), 487);
    assert_eq!((switch.stats().refused, switch.stats().calls), (2, 2));
    first.bye();
    slow.bye();
    quiet(&switch).await;
}

#[tokio::test]
async fn a_challenged_call_is_one_channel_after_the_right_answer_and_none_before() {
    let switch = switch().await;
    let mut caller = Caller::new(switch.sip_addr(), TRUNK);
    let invite = caller.invite_message("7001", "challenged");
    caller.send_invite(invite.clone());
    let refused = caller.final_response().await;
    assert_eq!(refused.code(), 407);
    assert_eq!(switch.stats().calls, 0);
    let challenge = Challenge::from_response(&refused).unwrap();
    assert_eq!(challenge.realm, "fs1");
    for (password, code) in [("wrong", 407), ("Example-trunk-1", 200)] {
        let who = Credentials { user: "north".into(), password: password.into() };
        let mut again = invite.clone();
        again.set("CSeq", format!("{} INVITE", if code == 200 { 3 } else { 2 }));
        let value = challenge.answer(&who, "INVITE", again.request_uri().unwrap(), "c1");
        again.add(challenge.answer_header(), value);
        caller.send_invite(again);
        assert_eq!(caller.final_response().await.code(), code);
    }
    let stats = switch.stats();
    assert_eq!((stats.calls, stats.challenged, switch.invites_of("challenged")), (1, 2, 3));
}

#[tokio::test]
async fn the_dialplan_refuses_what_it_says_and_options_are_answered() {
    let switch = switch().await;
    for (called, code) in [("5001", 486), ("6001", 603), ("9001", 404)] {
        let mut caller = Caller::new(switch.sip_addr(), SIPP);
        caller.call(called);
        assert_eq!(caller.final_response().await.code(), code, "{called}");
    }
    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    let mut options = caller.invite_message("1000", "probe");
    options.start =
        sim::sip::StartLine::Request { method: "OPTIONS".into(), uri: format!("sip:{}", switch.sip_addr()) };
    options.set("CSeq", "1 OPTIONS");
    assert_eq!(caller.request(options).await.code(), 200);
    quiet(&switch).await;
}

#[tokio::test]
async fn a_bridge_goes_through_the_gateway_with_our_header_copied() {
    let mut far = FarEnd::start(Manner::EarlyMedia);
    let switch = with_gateway(&far).await;
    let mut listener = Client::listening(switch.esl_addr(), "plain CHANNEL_BRIDGE CHANNEL_HANGUP_COMPLETE").await;
    let value = "0192f0aa-0000-7000-8000-000000000001;leg=0123456789abcdef;kid=k1;mac=AAAAAAAAAAA";
    let mut caller = Caller::new(switch.sip_addr(), TRUNK);
    let mut invite = caller.invite_message("+493012344001", "with-header");
    invite.add("X-Trunkline-Call", value);
    caller.send_invite(invite);
    assert_eq!(caller.response().await.code(), 183);
    caller.answered().await;
    let sent = far.request("INVITE").await;
    assert_eq!(sent.called_user(), Some("+493012348001"));
    assert_eq!(sent.get("X-Trunkline-Call"), Some(value));
    assert_eq!(sent.from_user(), Some("+251911000001"));
    assert_eq!(sent.get("Max-Forwards"), Some("69"));
    let bridge = listener.event_named("CHANNEL_BRIDGE").await;
    assert_eq!(bridge.get("variable_sip_h_X-Trunkline-Call"), Some(value));
    caller.bye();
    far.request("BYE").await;
    let far_leg = listener.event_named("CHANNEL_HANGUP_COMPLETE").await;
    assert_eq!(far_leg.get("variable_sip_call_id"), sent.call_id());
    quiet(&switch).await;
}

#[tokio::test]
async fn a_far_end_that_refuses_or_hangs_up_ends_the_caller_with_its_cause() {
    for (manner, code, cause) in [
        (Manner::RefusesWith(486), 486, "USER_BUSY"),
        (Manner::RefusesWith(603), 603, "CALL_REJECTED"),
        (Manner::RefusesWith(503), 503, "NORMAL_TEMPORARY_FAILURE"),
        (Manner::HangsUp, 200, "NORMAL_CLEARING"),
    ] {
        let far = FarEnd::start(manner);
        let switch = with_gateway(&far).await;
        let mut listener = Client::listening(switch.esl_addr(), "plain CHANNEL_HANGUP_COMPLETE").await;
        let mut caller = Caller::new(switch.sip_addr(), SIPP);
        caller.call("4001");
        assert_eq!(caller.final_response().await.code(), code, "{manner:?}");
        if code == 200 {
            caller.bye_of_switch().await;
        }
        for direction in ["outbound", "inbound"] {
            let event = listener.event_named("CHANNEL_HANGUP_COMPLETE").await;
            assert_eq!(event.get("Call-Direction"), Some(direction));
            assert_eq!(event.get("Hangup-Cause"), Some(cause), "{manner:?} {direction}");
        }
        quiet(&switch).await;
    }
}

#[tokio::test]
async fn nobody_at_the_gateway_ends_the_call_and_leaves_nothing() {
    let switch = switch().await;
    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    caller.call("4001");
    assert!(caller.final_response().await.code() >= 400);
    quiet(&switch).await;
}

#[tokio::test]
async fn a_menu_can_bridge_and_takes_the_call_back_when_the_far_end_goes() {
    let far = FarEnd::start(Manner::HangsUp);
    let switch = with_gateway(&far).await;
    let mut esl = Client::listening(
        switch.esl_addr(),
        "plain CHANNEL_PARK CHANNEL_UNBRIDGE CHANNEL_EXECUTE CHANNEL_EXECUTE_COMPLETE",
    )
    .await;
    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    caller.call("1001");
    let park = esl.event_named("CHANNEL_PARK").await;
    assert_eq!(park.get("variable_trunkline_control"), Some("own"));
    let uuid = park.get("Unique-ID").unwrap().to_owned();
    assert_eq!(esl.api(&format!("uuid_answer {uuid}")).await, "+OK\n");
    caller.answered().await;
    assert_eq!(esl.api(&format!("uuid_setvar {uuid} hangup_after_bridge false")).await, "+OK\n");
    let command = |app: &str, data: &str| {
        format!(
            "sendmsg {uuid}\ncall-command: execute\nexecute-app-name: {app}\nexecute-app-arg: {data}\nevent-lock: true"
        )
    };
    assert_eq!(esl.command(&command("bridge", "sofia/gateway/edge/+4930128001")).await, "+OK");
    esl.event_named("CHANNEL_UNBRIDGE").await;
    let done = esl.event(|e| e.is("CHANNEL_EXECUTE_COMPLETE") && e.get("Application") == Some("bridge")).await;
    assert_eq!(done.get("variable_bridge_hangup_cause"), Some("NORMAL_CLEARING"));
    esl.command(&command("playback", "goodbye-100ms.wav")).await;
    let done = esl.event_named("CHANNEL_EXECUTE_COMPLETE").await;
    assert_eq!(done.get("Application-Response"), Some("FILE PLAYED"));
    // An application that does not exist ends nothing.
    assert_eq!(esl.command(&command("no_such_app", "")).await, "+OK");
    assert_eq!(esl.api(&format!("uuid_exists {uuid}")).await, "true");
    esl.command(&format!("sendmsg {uuid}\ncall-command: hangup\nhangup-cause: USER_BUSY")).await;
    assert!(caller.bye_of_switch().await.get("Reason").unwrap().contains("cause=17"));
    quiet(&switch).await;
}

#[tokio::test]
async fn commands_answer_as_freeswitch_does() {
    let switch = switch().await;
    let mut esl = Client::listening(switch.esl_addr(), "json CHANNEL_PARK BACKGROUND_JOB CUSTOM test::beat").await;
    assert_eq!(esl.api("show channels as json").await, "{\"row_count\": 0}\n");
    assert_eq!(esl.api("show calls count").await, "\n0 total.\n");
    assert!(esl.api("status").await.contains("0 session(s) - peak 0"));
    assert!(esl.api("version").await.starts_with("FreeSWITCH (Version"));
    assert_eq!(esl.api("nosuchcommand").await, "-ERR nosuchcommand Command not found!\n");
    assert_eq!(esl.api("uuid_kill deadbeef").await, "-ERR No such channel!\n");
    assert_eq!(esl.api("uuid_exists deadbeef").await, "false");
    assert_eq!(esl.command("bogus").await, "-ERR command not found");
    let unknown = "deadbeef-0000-0000-0000-000000000000";
    let reply = esl.command(&format!("sendmsg {unknown}\ncall-command: hangup")).await;
    assert_eq!(reply, format!("-ERR invalid session id [{unknown}]"));
    assert_eq!(esl.command("event plain").await, "-ERR no keywords supplied");
    assert_eq!(esl.api("global_getvar hostname").await, "fs1");

    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    caller.call("1001");
    let uuid = esl.event_named("CHANNEL_PARK").await.get("Unique-ID").unwrap().to_owned();
    assert_eq!(esl.api(&format!("uuid_setvar {uuid} colour deep blue")).await, "+OK\n");
    assert_eq!(esl.api(&format!("uuid_getvar {uuid} colour")).await, "deep blue");
    assert_eq!(esl.api(&format!("uuid_getvar {uuid} nothing")).await, "_undef_");
    assert!(esl.api(&format!("uuid_dump {uuid}")).await.contains("variable_colour: deep%20blue\n"));
    let rows: serde_json::Value = serde_json::from_str(&esl.api("show channels as json").await).unwrap();
    assert_eq!(
        (&rows["row_count"], &rows["rows"][0]["uuid"], &rows["rows"][0]["application"]),
        (&1.into(), &uuid.as_str().into(), &"park".into())
    );

    let beat = "sendevent CUSTOM\nEvent-Subclass: test::beat\nBeat: 7";
    assert!(esl.command(beat).await.starts_with("+OK "));
    esl.command("nixevent CUSTOM test::beat").await;
    let job = esl.command(&format!("bgapi uuid_kill {uuid} USER_BUSY\nJob-UUID: job-1")).await;
    assert_eq!(job, "+OK Job-UUID: job-1");
    let done = esl.event_named("BACKGROUND_JOB").await;
    assert_eq!((done.get("Job-UUID"), done.get("_body")), (Some("job-1"), Some("+OK\n")));
    assert_eq!(caller.final_response().await.code(), 486);
    assert_eq!(esl.command("exit").await, "+OK bye");
    quiet(&switch).await;
}

#[tokio::test]
async fn leases_fire_unless_they_are_renewed() {
    let switch = switch().await;
    let mut esl = Client::listening(switch.esl_addr(), "plain CHANNEL_PARK CHANNEL_HANGUP CHANNEL_EXECUTE").await;
    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    caller.call("1001");
    let uuid = esl.event_named("CHANNEL_PARK").await.get("Unique-ID").unwrap().to_owned();
    assert_eq!(esl.api(&format!("sched_transfer +60 {uuid} 5001 XML public")).await, "+OK\n");
    assert_eq!(esl.api(&format!("sched_del {uuid}")).await, "+OK Deleted: 1\n");
    assert_eq!(esl.api(&format!("sched_transfer +1 {uuid} 3777 XML public")).await, "+OK\n");
    let echo = esl.event(|e| e.get("Application") == Some("echo")).await;
    assert_eq!((echo.get("Caller-Destination-Number"), echo.get("Caller-RDNIS")), (Some("3777"), Some("1001")));
    esl.api(&format!("uuid_setvar {uuid} trunkline_owner engine-a")).await;
    let added = esl.api("sched_api +1 lease hupall NORMAL_TEMPORARY_FAILURE trunkline_owner engine-a").await;
    assert!(added.starts_with("+OK Added: "), "{added}");
    let hangup = esl.event_named("CHANNEL_HANGUP").await;
    assert_eq!(hangup.get("Hangup-Cause"), Some("NORMAL_TEMPORARY_FAILURE"));
    quiet(&switch).await;
}

#[tokio::test]
async fn an_outbound_controller_gets_the_channel_and_its_death_ends_the_call() {
    let controller = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let switch = switch().await;
    // The first host is dead: it is skipped.
    switch.set_outbound_esl(&format!("127.0.0.1:1|{}", controller.local_addr().unwrap())).await;
    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    caller.call("2001");
    let (stream, _) = controller.accept().await.unwrap();
    let mut esl = Client::over(stream);
    esl.send("connect\n\n").await;
    let data = esl.next().await.unwrap().raw;
    for line in [
        "Event-Name: CHANNEL_DATA\n",
        "Channel-Destination-Number: 2001\n",
        "Reply-Text: %2BOK%0A\n",
        "Control: full\n",
    ] {
        assert!(data.contains(line), "{line:?} in {data}");
    }
    assert_eq!(esl.command("linger 1").await, "+OK will linger 1 seconds");
    assert_eq!(esl.command("myevents plain").await, "+OK Events Enabled");
    for app in ["answer", "echo"] {
        esl.command(&format!("sendmsg\ncall-command: execute\nexecute-app-name: {app}\nevent-lock: true")).await;
    }
    caller.answered().await;
    caller.bye();
    esl.event_named("CHANNEL_HANGUP_COMPLETE").await;
    let notice = esl.next().await.unwrap().raw;
    assert!(notice.contains("Content-Disposition: linger\n") && notice.contains("Linger-Time: 1\n"), "{notice}");
    assert!(esl.next().await.unwrap().raw.contains("Content-Disposition: disconnect\n"));
    assert!(esl.next().await.is_none());

    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    let invite = caller.invite_message("2002", "second");
    caller.send_invite(invite);
    let (stream, _) = controller.accept().await.unwrap();
    let mut esl = Client::over(stream);
    esl.send("connect\n\nsendmsg\ncall-command: execute\nexecute-app-name: answer\n\n").await;
    caller.answered().await;
    drop(esl);
    caller.bye_of_switch().await;
    quiet(&switch).await;
}

#[tokio::test]
async fn an_originated_call_is_answered_refused_or_has_no_profile() {
    let far = FarEnd::start(Manner::RingsAndAnswers);
    let switch = switch().await;
    let mut esl = Client::listening(switch.esl_addr(), "json BACKGROUND_JOB CHANNEL_PARK").await;
    let uuid = "0192f0aa-0000-7000-8000-000000000001";
    esl.command(&format!(
        "bgapi originate {{origination_uuid={uuid},sip_h_X-Campaign=spring}}sofia/core/+251911222333@{} &park()",
        far.address
    ))
    .await;
    let park = esl
        .event(|e| e.is("CHANNEL_PARK") || e.is("BACKGROUND_JOB") && e.get("_body") != Some(&format!("+OK {uuid}\n")))
        .await;
    assert_eq!((park.get("Unique-ID"), park.get("Answer-State")), (Some(uuid), Some("answered")));
    let refusing = FarEnd::start(Manner::RefusesWith(486));
    assert_eq!(esl.api(&format!("originate sofia/core/1@{} &park()", refusing.address)).await, "-ERR USER_BUSY\n");
    assert_eq!(esl.api("originate sofia/nosuch/1@127.0.0.1 &park()").await, "-ERR INVALID_PROFILE\n");
    switch.hangup_all("NORMAL_CLEARING").await;
    quiet(&switch).await;
}

#[tokio::test]
async fn the_same_seed_makes_the_same_ids() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let switch = switch().await;
        let mut esl = Client::listening(switch.esl_addr(), "plain CHANNEL_PARK").await;
        let mut caller = Caller::new(switch.sip_addr(), SIPP);
        caller.call("1001");
        let park = esl.event_named("CHANNEL_PARK").await;
        seen.push((park.get("Unique-ID").unwrap().to_owned(), park.get("Core-UUID").unwrap().to_owned()));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_calls_are_open_at_once_and_all_end() {
    const CALLS: usize = 2000;
    let config = SwitchConfig {
        max_per_second: 100_000,
        dialplan: Dialplan::platform("127.0.0.1:9"),
        media: Media::Steady,
        ..SwitchConfig::default()
    };
    let switch = Switch::start(config).await.unwrap();
    let mut listener = Client::listening(switch.esl_addr(), "plain CHANNEL_HANGUP_COMPLETE").await;
    let mut caller = Caller::new(switch.sip_addr(), Style { headers: &[], ..TRUNK });
    for number in 0..CALLS {
        let invite: Message = caller.invite_message("3001", &format!("many-{number}"));
        caller.send_invite(invite);
        if number % 50 == 49 {
            caller.linger(Duration::from_millis(2)).await;
        }
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while switch.stats().channels < CALLS as u64 {
        assert!(tokio::time::Instant::now() < deadline, "{} open", switch.stats().channels);
        caller.linger(Duration::from_millis(20)).await;
    }
    switch.hangup_all("NORMAL_CLEARING").await;
    for _ in 0..CALLS {
        listener.event_named("CHANNEL_HANGUP_COMPLETE").await;
    }
    quiet(&switch).await;
    let stats = switch.stats();
    assert_eq!((stats.calls, stats.events_lost, stats.peak_channels), (CALLS as u64, 0, CALLS as u64));
}
