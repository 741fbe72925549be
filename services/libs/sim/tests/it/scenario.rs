//! The recorded scenarios, played against the simulated switch: the same caller, the same controller, the same far end.

use std::time::Duration;

use sim::switch::{Dialplan, Media, Switch, SwitchConfig, SwitchHandle};
use tokio::time::sleep;

use crate::caller::{Caller, SIPP, Style, TRUNK};
use crate::client::{Client, Event, Frame, PATIENCE};
use crate::far_end::{FarEnd, Manner};

/// One ESL connection of a scenario, frame by frame.
pub struct Session {
    pub sends: Vec<String>,
    pub frames: Vec<Frame>,
    client: Client,
}

impl Session {
    async fn open(switch: &SwitchHandle, format: &str) -> Self {
        let client = Client::connect(switch.esl_addr()).await;
        let mut session = Self { sends: Vec::new(), frames: Vec::new(), client };
        session.next().await;
        session.send("auth Example-esl-1\n\n").await;
        session.next().await;
        session.send(&format!("event {format} all\n\n")).await;
        session.next().await;
        session
    }

    async fn send(&mut self, text: &str) {
        self.sends.push(text.to_owned());
        self.client.send(text).await;
    }

    async fn next(&mut self) -> Option<&Frame> {
        let frame = self.client.next().await?;
        self.frames.push(frame);
        self.frames.last()
    }

    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let found = async {
            loop {
                let frame = self.next().await.expect("the switch is there");
                if let Some(event) = frame.event.as_ref().filter(|event| wanted(event)) {
                    return event.clone();
                }
            }
        };
        // Heartbeats go on for ever: they must not be taken for progress.
        tokio::time::timeout(PATIENCE, found).await.expect("the event in time")
    }

    async fn named(&mut self, name: &str) -> Event {
        self.until(|event| event.is(name)).await
    }

    /// Until so many channels are gone, and nothing else comes.
    async fn finish(&mut self, channels: usize) {
        for _ in 0..channels {
            self.until(|event| event.is("CHANNEL_STATE") && event.get("Channel-State") == Some("CS_DESTROY")).await;
        }
        while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(300), self.client.next()).await {
            self.frames.push(frame);
        }
    }

    /// What the recorded controller does with a parked channel: answer, greet, ask twice, hang up.
    async fn take_over(&mut self, uuid: &str, questions: [&str; 2]) {
        let short = uuid.split('-').next().unwrap().to_owned();
        self.send(&format!("api uuid_answer {uuid}\n\n")).await;
        let apps = [
            ("playback", "tone_stream://%(400,100,440)"),
            ("play_and_get_digits", questions[0]),
            ("play_and_get_digits", questions[1]),
            ("hangup", "NORMAL_CLEARING"),
        ];
        for (app, data) in apps {
            self.send(&format!(
                "sendmsg {uuid}\ncall-command: execute\nexecute-app-name: {app}\nexecute-app-arg: {data}\nevent-lock: true\nEvent-UUID: {app}-{short}\n\n"
            ))
            .await;
        }
    }
}

async fn switch(far_end: Option<&FarEnd>, media: Media) -> SwitchHandle {
    let address = far_end.map_or_else(|| "127.0.0.1:9".to_owned(), |far| far.address.to_string());
    let dialplan = Dialplan::recorded(&address, "127.0.0.1:9");
    let heartbeat = Duration::from_millis(1700);
    Switch::start(SwitchConfig { dialplan, media, heartbeat, ..SwitchConfig::default() }).await.unwrap()
}

const MENU: [&str; 2] = [
    "1 1 2 3000 # tone_stream://%(300,50,600) tone_stream://%(300,50,300) choice [1-3] 2000",
    r"1 4 2 3000 # tone_stream://%(300,50,600) tone_stream://%(300,50,300) account \d+ 1500",
];

/// A call that is parked and taken over by the recorded controller.
async fn in_menu(style: Style, questions: [&str; 2]) -> (SwitchHandle, Session, Caller, String) {
    let switch = switch(None, Media::Silent).await;
    let mut session = Session::open(&switch, "plain").await;
    let mut caller = Caller::new(switch.sip_addr(), style);
    caller.call("1001");
    let uuid = session.named("CHANNEL_PARK").await.get("Unique-ID").unwrap().to_owned();
    session.take_over(&uuid, questions).await;
    caller.answered().await;
    (switch, session, caller, uuid)
}

/// The invalid prompt of the first question after nobody chose.
async fn second_prompt(session: &mut Session) {
    session.until(|e| e.is("PLAYBACK_START") && e.get("variable_read_result") == Some("failure")).await;
}

pub async fn auth_refused() -> Session {
    let switch = switch(None, Media::Silent).await;
    let client = Client::connect(switch.esl_addr()).await;
    let mut session = Session { sends: Vec::new(), frames: Vec::new(), client };
    session.next().await;
    session.send("auth wrong\n\n").await;
    while session.next().await.is_some() {}
    session
}

pub async fn ivr_keys() -> Session {
    let (_switch, mut session, mut caller, _) = in_menu(SIPP, MENU).await;
    second_prompt(&mut session).await;
    sleep(Duration::from_millis(100)).await;
    // Not an interruption: it waits for the question to be asked again.
    caller.key('2');
    session.until(|e| e.is("CHANNEL_EXECUTE") && e.get("variable_choice") == Some("2")).await;
    second_prompt(&mut session).await;
    session.named("PLAYBACK_START").await;
    sleep(Duration::from_millis(60)).await;
    for key in ['1', '2', '3', '#'] {
        caller.key(key);
        caller.linger(Duration::from_millis(150)).await;
    }
    caller.bye_of_switch().await;
    session.finish(1).await;
    session
}

pub async fn ivr_no_input() -> Session {
    let questions = [
        "1 1 2 3000 # tone_stream://%(300,50,600) tone_stream://%(300,50,300) choice [0-9] 2000",
        "1 1 2 3000 # tone_stream://%(300,50,600) tone_stream://%(300,50,300) confirm [01] 2000",
    ];
    let style = Style { telephone_event: true, ..TRUNK };
    let (_switch, mut session, mut caller, _) = in_menu(style, questions).await;
    session
        .until(|e| e.is("CHANNEL_EXECUTE") && e.get("Application-Data").is_some_and(|d| d.contains("confirm")))
        .await;
    session.named("PLAYBACK_STOP").await;
    caller.bye();
    caller.linger(Duration::from_millis(100)).await;
    session.finish(1).await;
    session
}

pub async fn ivr_invalid() -> Session {
    let (switch, mut session, mut caller, uuid) = in_menu(SIPP, MENU).await;
    let mut other = Client::listening(switch.esl_addr(), "plain BACKGROUND_JOB").await;
    second_prompt(&mut session).await;
    assert_eq!(other.api(&format!("uuid_recv_dtmf {uuid} 9")).await, "+OK\n");
    session
        .until(|e| e.is("CHANNEL_EXECUTE") && e.get("Application-Data").is_some_and(|d| d.contains("account")))
        .await;
    session.named("PLAYBACK_STOP").await;
    sleep(Duration::from_millis(500)).await;
    other.api(&format!("uuid_recv_dtmf {uuid} 8")).await;
    caller.bye_of_switch().await;
    session.finish(1).await;
    session
}

pub async fn abandons() -> Session {
    let (switch, mut session, mut caller, uuid) = in_menu(SIPP, MENU).await;
    let mut other = Client::listening(switch.esl_addr(), "plain BACKGROUND_JOB").await;
    session.until(|e| e.is("CHANNEL_EXECUTE") && e.get("Application-Data").is_some_and(|d| d.contains("choice"))).await;
    session.named("PLAYBACK_STOP").await;
    assert_eq!(other.api(&format!("uuid_kill {uuid}")).await, "+OK\n");
    caller.bye_of_switch().await;
    session.finish(1).await;
    session
}

pub async fn echo() -> Session {
    let switch = switch(None, Media::OtherPtime).await;
    let mut session = Session::open(&switch, "plain").await;
    let mut caller = Caller::new(switch.sip_addr(), Style { payload: 8, ..TRUNK });
    caller.call("3001");
    caller.answered().await;
    session.until(|e| e.is("CODEC") && e.get("Answer-State") == Some("answered")).await;
    caller.bye();
    caller.linger(Duration::from_millis(100)).await;
    session.finish(1).await;
    session
}

pub async fn busy() -> Session {
    let switch = switch(None, Media::Silent).await;
    let mut session = Session::open(&switch, "plain").await;
    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    caller.call("5001");
    assert_eq!(caller.final_response().await.code(), 486);
    session.finish(1).await;
    session
}

pub async fn cancels() -> Session {
    let mut far = FarEnd::start(Manner::Rings);
    let switch = switch(Some(&far), Media::Silent).await;
    let mut session = Session::open(&switch, "plain").await;
    let mut caller = Caller::new(switch.sip_addr(), Style { headers: &[], ..TRUNK });
    caller.call("4003");
    assert_eq!(caller.response().await.code(), 180);
    caller.cancel();
    assert_eq!(caller.final_response().await.code(), 487);
    far.request("CANCEL").await;
    session.finish(2).await;
    session
}

async fn in_bridge(far: &FarEnd, format: &str) -> (SwitchHandle, Session, Caller) {
    let switch = switch(Some(far), Media::Silent).await;
    let mut session = Session::open(&switch, format).await;
    let mut caller = Caller::new(switch.sip_addr(), SIPP);
    caller.call("4001");
    caller.answered().await;
    for _ in 0..2 {
        session.named("CALL_UPDATE").await;
    }
    (switch, session, caller)
}

pub async fn bridged(format: &str) -> Session {
    let mut far = FarEnd::start(Manner::RingsAndAnswers);
    let (_switch, mut session, mut caller) = in_bridge(&far, format).await;
    caller.bye();
    caller.linger(Duration::from_millis(100)).await;
    far.request("BYE").await;
    session.finish(2).await;
    session
}

pub async fn killed() -> Session {
    let mut far = FarEnd::start(Manner::RingsAndAnswers);
    let (switch, mut session, _caller) = in_bridge(&far, "plain").await;
    far.request("ACK").await;
    switch.kill().await;
    while session.next().await.is_some() {}
    assert!(far.requests.try_recv().is_err(), "a killed node says nothing");
    session
}

pub async fn heartbeat() -> Event {
    let switch = switch(None, Media::Silent).await;
    Client::listening(switch.esl_addr(), "plain HEARTBEAT").await.event_named("HEARTBEAT").await
}
