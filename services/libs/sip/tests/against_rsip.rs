//! rsip as the other reader and the other writer: on plain messages both parsers agree, and what rsip's typed headers write, ours
//! reads as it was meant. rsip refuses or misreads many legal messages, so the texts here stay plain.

use proptest::prelude::*;
use rsip::prelude::*;
use rsip::typed;
use sip::{Index, Name};

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{1,10}"
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plain_requests_read_alike(
        method in prop::sample::select(vec!["INVITE", "BYE", "OPTIONS", "INFO", "REGISTER"]),
        user in word(), host in word(), tag in word(), to_tag in prop::option::of(word()), call_id in word(), branch in word(),
        display in prop::option::of(word()), cseq in 1u32..1_000_000, port in 1024u16..60000, mf in 0u32..71, body in "[a-z=\r\n]{0,60}",
    ) {
        let display = display.map(|d| format!("\"{d}\" ")).unwrap_or_default();
        let to_tag = to_tag.map(|t| format!(";tag={t}")).unwrap_or_default();
        let text = format!(
            "{method} sip:{user}@{host}.example:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {host}.example:{port};branch=z9hG4bK{branch}\r\n\
             Max-Forwards: {mf}\r\nFrom: {display}<sip:{user}@{host}.example>;tag={tag}\r\nTo: <sip:{host}@{user}.example>{to_tag}\r\n\
             Call-ID: {call_id}@{host}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{user}@{host}.example:{port}>\r\n\
             Content-Length: {}\r\n\r\n{body}", body.len());
        let mut index = Index::new();
        let ours = index.parse(text.as_bytes()).expect("a plain message");
        let theirs = rsip::Request::try_from(text.as_bytes()).expect("a plain message");
        prop_assert_eq!(text_of(ours.method_token()), theirs.method().to_string());
        prop_assert_eq!(text_of(ours.uri()), theirs.uri().to_string());
        prop_assert_eq!(text_of(ours.call_id()), theirs.call_id_header().unwrap().value().to_owned());
        let from = theirs.from_header().unwrap().typed().unwrap();
        prop_assert_eq!(text_of(ours.from_tag()), from.tag().unwrap().value().to_owned());
        prop_assert_eq!(text_of(ours.from().uri), from.uri.to_string());
        let to = theirs.to_header().unwrap().typed().unwrap();
        prop_assert_eq!(text_of(ours.to_tag()), to.tag().map(|t| t.value().to_owned()).unwrap_or_default());
        let via = theirs.via_header().unwrap().typed().unwrap();
        prop_assert_eq!(text_of(ours.branch()), via.branch().unwrap().value().to_owned());
        prop_assert_eq!(ours.via().port, via.uri.port().map(|p| *p.value()));
        prop_assert_eq!(ours.cseq(), theirs.cseq_header().unwrap().seq().unwrap());
        prop_assert_eq!(ours.max_forwards(), Some(theirs.max_forwards_header().unwrap().num().unwrap()));
        prop_assert_eq!(ours.body(), theirs.body().as_slice());
        prop_assert_eq!(ours.headers().len(), theirs.headers().iter().count());
        prop_assert_eq!(ours.values(Name::Contact).count(), 1);
    }
    #[test]
    fn what_typed_headers_write_is_read_as_it_was_meant(
        user in word(), host in word(), tag in word(), call_id in word(), branch in word(), display in prop::option::of(word()),
        cseq in 1u32..1_000_000, port in prop::option::of(1024u16..60000), mf in 0u32..71, status in prop::option::of(100u16..700),
        body in "[a-z=]{0,60}",
    ) {
        let uri = |user: &str| rsip::Uri {
            scheme: Some(rsip::Scheme::Sip),
            auth: Some((user.to_owned(), None::<String>).into()),
            host_with_port: rsip::HostWithPort { host: rsip::Host::from(host.as_str()), port: port.map(Into::into) },
            ..rsip::Uri::default()
        };
        let mut headers = rsip::Headers::default();
        headers.push(
            typed::Via {
                version: rsip::Version::V2,
                transport: rsip::Transport::Tcp,
                uri: rsip::Uri { scheme: None, auth: None, ..uri("") },
                params: vec![rsip::Param::Branch(rsip::param::Branch::new(format!("z9hG4bK{branch}")))],
            }
            .into(),
        );
        let params = vec![rsip::Param::Tag(rsip::param::Tag::new(tag.clone()))];
        headers.push(typed::From { display_name: display.clone(), uri: uri(&user), params }.into());
        headers.push(typed::To { display_name: None, uri: uri("callee"), params: Vec::new() }.into());
        headers.push(rsip::headers::CallId::new(&call_id).into());
        headers.push(typed::CSeq { seq: cseq, method: rsip::Method::Invite }.into());
        headers.push(rsip::headers::MaxForwards::new(mf.to_string()).into());
        headers.push(rsip::headers::ContentLength::from(body.len() as u32).into());
        let (version, bytes) = (rsip::Version::V2, body.clone().into_bytes());
        let text = match status {
            Some(code) => rsip::Response { status_code: code.into(), version, headers, body: bytes }.to_string(),
            None => {
                rsip::Request { method: rsip::Method::Invite, uri: uri("callee"), version, headers, body: bytes }.to_string()
            }
        };
        let mut index = Index::new();
        let ours = index.parse(text.as_bytes()).expect("a plain message");
        prop_assert_eq!((ours.is_request(), ours.status()), (status.is_none(), status.unwrap_or_default()));
        prop_assert_eq!((ours.method(), ours.cseq(), ours.max_forwards()), (sip::Method::Invite, cseq, Some(mf)));
        prop_assert_eq!(text_of(ours.branch()), format!("z9hG4bK{branch}"));
        prop_assert_eq!((text_of(ours.via().host.of(text.as_bytes())), ours.via().port), (host.clone(), port));
        prop_assert_eq!((text_of(ours.from_tag()), text_of(ours.to_tag())), (tag, String::new()));
        prop_assert_eq!(text_of(ours.from().display), display.unwrap_or_default());
        prop_assert_eq!(text_of(ours.from().uri), uri(&user).to_string());
        prop_assert_eq!((text_of(ours.call_id()), text_of(ours.body())), (call_id, body));
    }
}
