//! The user agent that bridged calls reach: rings, then answers or keeps ringing, as the recorded one did.

use std::net::SocketAddr;

use sim::sip::{Dialog, Endpoint, Incoming, Message};
use tokio::sync::mpsc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    RingsAndAnswers,
    Rings,
    RefusesWith(u16),
    /// Answers and hangs up at once after the ACK.
    HangsUp,
    /// 183 with a description, then the answer.
    EarlyMedia,
}

pub struct FarEnd {
    pub address: SocketAddr,
    /// Every request it received, ACK and CANCEL included.
    pub requests: mpsc::Receiver<Message>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FarEnd {
    pub async fn request(&mut self, method: &str) -> Message {
        let wait = async {
            loop {
                let message = self.requests.recv().await.expect("the far end runs");
                if message.method() == Some(method) {
                    return message;
                }
            }
        };
        tokio::time::timeout(crate::client::PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {method} came"))
    }

    #[expect(clippy::disallowed_methods, reason = "a task of this test alone, ended by its handle")]
    pub fn start(manner: Manner) -> Self {
        let mut endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), 99, false).unwrap();
        let address = endpoint.local();
        let (seen, requests) = mpsc::channel(100);
        let task = tokio::spawn(async move {
            loop {
                match endpoint.next().await {
                    Incoming::Request { tx, message, .. } => {
                        // Who measures thousands of calls does not look at each.
                        let _ = seen.try_send(message.clone());
                        if message.method() != Some("INVITE") {
                            endpoint.respond(tx, &Message::response_to(&message, 200, "OK", Some("uas")));
                            continue;
                        }
                        let reply = |code, reason, body: bool| {
                            let mut reply = Message::response_to(&message, code, reason, Some("uas-tag"));
                            reply.add("Contact", format!("<sip:nobody@{address};transport=UDP>"));
                            if body {
                                reply.set_body(
                                    "application/sdp",
                                    "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 7000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
                                );
                            }
                            reply
                        };
                        match manner {
                            Manner::RefusesWith(code) => {
                                endpoint.respond(tx, &reply(code, "No", false));
                            }
                            Manner::EarlyMedia => {
                                endpoint.respond(tx, &reply(183, "Session Progress", true));
                                endpoint.respond(tx, &reply(200, "OK", true));
                            }
                            _ => {
                                endpoint.respond(tx, &reply(180, "Ringing", false));
                                if manner != Manner::Rings {
                                    endpoint.respond(tx, &reply(200, "OK", true));
                                }
                            }
                        }
                        if manner == Manner::HangsUp {
                            let contact = format!("<sip:nobody@{address}>");
                            let mut dialog = Dialog::callee(&message, "uas-tag", &contact, address);
                            while !matches!(endpoint.next().await, Incoming::Ack { .. }) {}
                            let bye = dialog.request("BYE");
                            endpoint.send_request(bye, dialog.next_hop());
                        }
                    }
                    Incoming::Ack { message, .. } => {
                        let _ = seen.try_send(message);
                    }
                    Incoming::Cancelled { tx, message } => {
                        let mut cancel = message.clone();
                        cancel.start = sim::sip::StartLine::Request { method: "CANCEL".into(), uri: String::new() };
                        let _ = seen.try_send(cancel);
                        endpoint
                            .respond(tx, &Message::response_to(&message, 487, "Request Terminated", Some("uas-tag")));
                    }
                    _ => {}
                }
            }
        });
        Self { address, requests, task }
    }
}
