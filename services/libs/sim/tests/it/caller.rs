//! A caller of the tests' own, on the simulation's SIP.

use std::net::SocketAddr;
use std::time::Duration;

use sim::sip::{ClientTx, Dialog, Endpoint, Incoming, Message};

use crate::client::PATIENCE;

/// What a caller's INVITE looks like.
#[derive(Clone, Debug)]
pub struct Style {
    /// `{port}` is the caller's own.
    pub from: &'static str,
    pub to_display: bool,
    pub headers: &'static [(&'static str, &'static str)],
    pub payload: u8,
    pub telephone_event: bool,
}

/// As stock SIPp calls.
pub const SIPP: Style = Style {
    from: "sipp <sip:sipp@127.0.0.1:{port}>",
    to_display: true,
    headers: &[("Subject", "Performance Test")],
    payload: 0,
    telephone_event: false,
};

/// As the recorded trunk calls.
pub const TRUNK: Style = Style {
    from: "\"Caller\" <sip:+251911000001@127.0.0.1:{port}>",
    to_display: false,
    headers: &[("User-Agent", "trunk-sim/1.0")],
    payload: 0,
    telephone_event: false,
};

pub struct Caller {
    endpoint: Endpoint,
    switch: SocketAddr,
    style: Style,
    invite: Option<Message>,
    tx: Option<ClientTx>,
    pub dialog: Option<Dialog>,
    bye: Option<Message>,
}

impl Caller {
    pub fn new(switch: SocketAddr, style: Style) -> Self {
        let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), 77, true).unwrap();
        Self { endpoint, switch, style, invite: None, tx: None, dialog: None, bye: None }
    }

    pub fn invite_message(&self, called: &str, call_id: &str) -> Message {
        let (local, style) = (self.endpoint.local(), &self.style);
        let mut invite = Message::request("INVITE", &format!("sip:{called}@{}", self.switch));
        invite.add("Max-Forwards", "70");
        invite.add("From", format!("{};tag=from-{call_id}", style.from.replace("{port}", &local.port().to_string())));
        let display = if style.to_display { format!("{called} ") } else { String::new() };
        invite.add("To", format!("{display}<sip:{called}@{}>", self.switch));
        invite.add("Call-ID", call_id);
        invite.add("CSeq", "1 INVITE");
        let user = invite.from_user().unwrap().to_owned();
        invite.add("Contact", format!("<sip:{user}@{local}>"));
        for (name, value) in style.headers {
            invite.add(name, *value);
        }
        let name = if style.payload == 8 { "PCMA" } else { "PCMU" };
        let (list, extra) = if style.telephone_event {
            (" 101", "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n")
        } else {
            ("", "")
        };
        let payload = style.payload;
        invite.set_body(
            "application/sdp",
            format!(
                "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP {payload}{list}\r\na=rtpmap:{payload} {name}/8000\r\n{extra}"
            ),
        );
        invite
    }

    pub fn call(&mut self, called: &str) {
        let invite = self.invite_message(called, &format!("call-{called}@127.0.0.1"));
        self.send_invite(invite);
    }

    pub fn send_invite(&mut self, invite: Message) {
        self.tx = Some(self.endpoint.send_request(invite.clone(), self.switch));
        self.invite = Some(invite);
    }

    async fn incoming(&mut self) -> Incoming {
        tokio::time::timeout(PATIENCE, self.endpoint.next()).await.expect("something from the switch in time")
    }

    /// The next response to the INVITE that is not 100; a 2xx is acknowledged.
    pub async fn response(&mut self) -> Message {
        loop {
            match self.incoming().await {
                Incoming::Response { tx, message, from } if Some(tx) == self.tx && message.code() > 100 => {
                    if (200..300).contains(&message.code()) {
                        let dialog = Dialog::caller(self.invite.as_ref().unwrap(), &message, from);
                        self.endpoint.ack(tx, dialog.ack(1), dialog.next_hop());
                        self.dialog = Some(dialog);
                    }
                    return message;
                }
                Incoming::Request { tx, message, .. } => {
                    self.endpoint.respond(tx, &Message::response_to(&message, 200, "OK", None));
                }
                _ => {}
            }
        }
    }

    pub async fn final_response(&mut self) -> Message {
        loop {
            let response = self.response().await;
            if response.code() >= 200 {
                return response;
            }
        }
    }

    pub async fn answered(&mut self) {
        let response = self.final_response().await;
        assert_eq!(response.code(), 200, "{}", response.reason());
    }

    pub fn cancel(&mut self) {
        self.endpoint.cancel(self.tx.unwrap());
    }

    pub fn bye(&mut self) {
        let dialog = self.dialog.as_mut().unwrap();
        let bye = dialog.request("BYE");
        let hop = dialog.next_hop();
        self.endpoint.send_request(bye, hop);
    }

    pub fn key(&mut self, digit: char) {
        let dialog = self.dialog.as_mut().unwrap();
        let mut info = dialog.request("INFO");
        info.set_body("application/dtmf-relay", format!("Signal={digit}\r\nDuration=250\r\n"));
        let hop = dialog.next_hop();
        self.endpoint.send_request(info, hop);
    }

    /// Lets the transactions run (retransmissions, answers to requests) for a while.
    pub async fn linger(&mut self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        while let Ok(event) = tokio::time::timeout_at(until, self.endpoint.next()).await {
            if let Incoming::Request { tx, message, .. } = event {
                self.endpoint.respond(tx, &Message::response_to(&message, 200, "OK", None));
                self.bye = (message.method() == Some("BYE")).then_some(message);
            }
        }
    }

    /// Waits for the far end to hang up.
    pub async fn bye_of_switch(&mut self) -> Message {
        if let Some(bye) = self.bye.take() {
            return bye;
        }
        loop {
            if let Incoming::Request { tx, message, .. } = self.incoming().await {
                self.endpoint.respond(tx, &Message::response_to(&message, 200, "OK", None));
                if message.method() == Some("BYE") {
                    return message;
                }
            }
        }
    }

    pub async fn request(&mut self, message: Message) -> Message {
        let tx = self.endpoint.send_request(message, self.switch);
        loop {
            match self.incoming().await {
                Incoming::Response { tx: got, message, .. } if got == tx => return message,
                _ => {}
            }
        }
    }
}
