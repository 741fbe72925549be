//! Dialogs (RFC 3261 §12): what both ends remember of a call, and the requests sent inside it.

use std::net::SocketAddr;

use super::message::Message;
use super::uri;

#[derive(Clone, Debug)]
pub struct Dialog {
    pub call_id: String,
    /// Our From (or To) value with our tag.
    pub local: String,
    /// The far end's, with its tag.
    pub remote: String,
    pub local_cseq: u32,
    pub remote_cseq: u32,
    /// In the order in which our requests visit them.
    pub route_set: Vec<String>,
    pub remote_target: String,
    /// Our Contact, as a name-address.
    pub contact: String,
    /// Next hop when neither the route set nor the target names an address.
    pub peer: SocketAddr,
}

impl Dialog {
    /// The caller's side, from its INVITE and the first response that made a dialog (1xx with tag, or 2xx).
    #[must_use]
    pub fn caller(invite: &Message, response: &Message, peer: SocketAddr) -> Self {
        let mut route_set: Vec<String> = response.all("Record-Route").map(str::to_owned).collect();
        route_set.reverse();
        Self {
            call_id: text(invite, "Call-ID"),
            local: text(invite, "From"),
            remote: text(response, "To"),
            local_cseq: invite.cseq().map_or(1, |(number, _)| number),
            remote_cseq: 0,
            route_set,
            remote_target: response.contact_uri().or(invite.request_uri()).unwrap_or_default().to_owned(),
            contact: text(invite, "Contact"),
            peer,
        }
    }

    /// The called side, from the INVITE, our tag and our Contact.
    #[must_use]
    pub fn callee(invite: &Message, local_tag: &str, contact: &str, peer: SocketAddr) -> Self {
        let local = match invite.to_tag() {
            Some(_) => text(invite, "To"),
            None => format!("{};tag={local_tag}", text(invite, "To")),
        };
        Self {
            call_id: text(invite, "Call-ID"),
            local,
            remote: text(invite, "From"),
            local_cseq: 0,
            remote_cseq: invite.cseq().map_or(0, |(number, _)| number),
            route_set: invite.all("Record-Route").map(str::to_owned).collect(),
            remote_target: invite.contact_uri().unwrap_or_default().to_owned(),
            contact: contact.to_owned(),
            peer,
        }
    }

    #[must_use]
    pub fn local_tag(&self) -> &str {
        uri::header_param(&self.local, "tag").unwrap_or_default()
    }

    #[must_use]
    pub fn remote_tag(&self) -> &str {
        uri::header_param(&self.remote, "tag").unwrap_or_default()
    }

    /// Is this in-dialog request of the far end for us? Compares Call-ID and both tags.
    #[must_use]
    pub fn matches(&self, request: &Message) -> bool {
        request.call_id() == Some(self.call_id.as_str())
            && request.to_tag() == Some(self.local_tag())
            && request.from_tag() == Some(self.remote_tag())
    }

    /// A target refresh: the far end's re-INVITE or UPDATE, or the 2xx to ours, may move its Contact.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Some(target) = message.contact_uri() {
            self.remote_target = target.to_owned();
        }
    }

    /// A new request inside the dialog (BYE, INFO, re-INVITE, …) with the next sequence number.
    pub fn request(&mut self, method: &str) -> Message {
        self.local_cseq += 1;
        self.build(method, self.local_cseq)
    }

    /// The ACK of a 2xx to the INVITE that had this sequence number.
    #[must_use]
    pub fn ack(&self, invite_cseq: u32) -> Message {
        self.build("ACK", invite_cseq)
    }

    /// Where the next request is sent: the first route, else the target.
    #[must_use]
    pub fn next_hop(&self) -> SocketAddr {
        let first = self.route_set.first().map_or(self.remote_target.as_str(), |route| uri::uri_of(route));
        uri::address(first).unwrap_or(self.peer)
    }

    fn build(&self, method: &str, cseq: u32) -> Message {
        let (target, routes) = self.target_and_routes();
        let mut message = Message::request(method, target);
        for route in routes {
            message.add("Route", route);
        }
        message.add("Max-Forwards", "70");
        message.add("From", self.local.as_str());
        message.add("To", self.remote.as_str());
        message.add("Call-ID", self.call_id.as_str());
        message.add("CSeq", format!("{cseq} {method}"));
        message.add("Contact", self.contact.as_str());
        message
    }

    /// RFC 3261 §12.2.1.1: a first route without `lr` is a strict router and becomes the Request-URI itself.
    fn target_and_routes(&self) -> (&str, Vec<String>) {
        match self.route_set.split_first() {
            Some((first, rest)) if uri::param(uri::uri_of(first), "lr").is_none() => {
                let mut routes = rest.to_vec();
                routes.push(format!("<{}>", self.remote_target));
                (uri::uri_of(first), routes)
            }
            _ => (&self.remote_target, self.route_set.clone()),
        }
    }
}

fn text(message: &Message, name: &str) -> String {
    message.get(name).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite() -> Message {
        let mut invite = Message::request("INVITE", "sip:1000@192.0.2.9");
        invite.add("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1");
        invite.add("Record-Route", "<sip:192.0.2.4;lr>");
        invite.add("Record-Route", "<sip:192.0.2.3;lr>");
        invite.add("From", "<sip:a@192.0.2.1>;tag=f");
        invite.add("To", "<sip:1000@192.0.2.9>");
        invite.add("Call-ID", "c1");
        invite.add("CSeq", "5 INVITE");
        invite.add("Contact", "<sip:a@192.0.2.1:5080>");
        invite
    }

    fn peer() -> SocketAddr {
        "192.0.2.99:5060".parse().unwrap()
    }

    #[test]
    fn caller_and_callee_see_the_same_dialog_from_both_ends() {
        let invite = invite();
        let mut answer = Message::response_to(&invite, 200, "OK", Some("t"));
        answer.add("Contact", "<sip:sw@192.0.2.9:5090>");
        let mut caller = Dialog::caller(&invite, &answer, peer());
        let mut callee = Dialog::callee(&invite, "t", "<sip:sw@192.0.2.9:5090>", peer());

        let ack = caller.ack(5);
        assert_eq!((ack.request_uri(), ack.cseq()), (Some("sip:sw@192.0.2.9:5090"), Some((5, "ACK"))));
        let bye = caller.request("BYE");
        assert!(callee.matches(&bye));
        assert_eq!(bye.cseq(), Some((6, "BYE")));
        assert_eq!(bye.all("Route").collect::<Vec<_>>(), ["<sip:192.0.2.3;lr>", "<sip:192.0.2.4;lr>"]);
        assert_eq!(caller.next_hop(), "192.0.2.3:5060".parse().unwrap());

        let back = callee.request("INFO");
        assert!(caller.matches(&back));
        assert_eq!(back.request_uri(), Some("sip:a@192.0.2.1:5080"));
        assert_eq!(callee.next_hop(), "192.0.2.4:5060".parse().unwrap());
    }

    #[test]
    fn a_strict_router_becomes_the_request_uri_and_no_route_means_the_target() {
        let mut dialog = Dialog::callee(&invite(), "t", "<sip:x@h>", peer());
        dialog.route_set = vec!["<sip:192.0.2.7>".into(), "<sip:192.0.2.8;lr>".into()];
        let bye = dialog.request("BYE");
        assert_eq!(bye.request_uri(), Some("sip:192.0.2.7"));
        assert_eq!(bye.all("Route").collect::<Vec<_>>(), ["<sip:192.0.2.8;lr>", "<sip:a@192.0.2.1:5080>"]);
        dialog.route_set.clear();
        assert_eq!(dialog.next_hop(), "192.0.2.1:5080".parse().unwrap());
        dialog.remote_target = "sip:name.example".into();
        assert_eq!(dialog.next_hop(), peer());
    }
}
