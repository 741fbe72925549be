//! Handshakes over real sockets, with certificates made on the spot.

use std::time::Instant;

use testkit::pki::{self, Authority, Pair, Wanted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::renew::Certificates;
use super::*;
use crate::config::{Config, ListenerConfig, Transport};

const LIMIT: Duration = Duration::from_secs(5);
const HOST: &str = "edge.example.com";

fn settings(pair: &Pair) -> TlsConfig {
    TlsConfig { cert: pair.cert.clone(), key: pair.key.clone(), client_ca: None, client_crl: None }
}

fn server(authority: &Authority) -> Server {
    Server::open("tls", &settings(&authority.sign("edge", HOST))).unwrap()
}

/// Both ends of one TCP connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

type Accepted = Result<(server::TlsStream<TcpStream>, Session), HandshakeError>;
type Connected = io::Result<client::TlsStream<TcpStream>>;

/// A client of the test's own against a server of ours. The client has read one byte, or it would not know that TLS 1.3 refused
/// its certificate.
async fn meet(server: &Server, config: Arc<tokio_rustls::rustls::ClientConfig>, name: &str) -> (Accepted, Connected) {
    let (near, far) = pair().await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let accept = async {
        let mut accepted = server.accept(far, LIMIT).await;
        if let Ok((stream, _)) = &mut accepted {
            stream.write_all(b"!").await.unwrap();
        }
        accepted
    };
    let connect = async {
        let mut stream = TlsConnector::from(config).connect(name, near).await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    tokio::join!(accept, connect)
}

#[tokio::test]
async fn a_client_of_either_version_is_served_and_an_older_one_is_not() {
    let authority = Authority::new("ca");
    let server = server(&authority);
    for (versions, name) in [(&[&TLS13][..], "TLSv1_3"), (&[&TLS12], "TLSv1_2")] {
        let (accepted, connected) = meet(&server, pki::client(authority.ca(), None, versions), HOST).await;
        let (_, session) = accepted.unwrap();
        assert_eq!((session.version, &session.peer), (name, &None));
        assert!(session.cipher.contains("GCM") || session.cipher.contains("CHACHA20"), "{}", session.cipher);
        connected.unwrap();
    }
    // A ClientHello of TLS 1.1.
    let (mut near, far) = pair().await;
    let hello = [&[0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2][..], &[7; 32], &[0, 0, 2, 0xc0, 0x13, 1, 0]].concat();
    near.write_all(&hello).await.unwrap();
    assert!(matches!(server.accept(far, LIMIT).await, Err(HandshakeError::Tls(_))));
}

#[tokio::test]
async fn whoever_speaks_no_tls_or_nothing_is_given_up() {
    let authority = Authority::new("ca");
    let server = server(&authority);
    let (mut near, far) = pair().await;
    near.write_all(b"OPTIONS sip:edge SIP/2.0\r\n\r\n").await.unwrap();
    assert!(matches!(server.accept(far, LIMIT).await, Err(HandshakeError::Tls(_))));
    let (_near, far) = pair().await;
    let started = Instant::now();
    assert!(matches!(server.accept(far, Duration::from_millis(50)).await, Err(HandshakeError::Slow(_))));
    assert!(started.elapsed() < LIMIT);
}

#[tokio::test]
async fn with_an_authority_of_clients_only_its_clients_enter_and_they_have_names() {
    let (authority, clients, strangers) =
        (Authority::new("ca"), Authority::new("clients"), Authority::new("strangers"));
    let settings = TlsConfig { client_ca: Some(clients.ca().to_owned()), ..settings(&authority.sign("edge", HOST)) };
    let server = Server::open("tls", &settings).unwrap();
    let carrier = clients.sign_as(
        "carrier",
        &Wanted {
            common_name: "Carrier A",
            names: &["SBC1.carrier-a.example"],
            uris: &["sip:carrier-a.example"],
            ..Wanted::default()
        },
    );
    let named = clients.sign_as("named", &Wanted { common_name: "Müller", ..Wanted::default() });
    for (own, names) in [(&carrier, &["carrier-a.example", "sbc1.carrier-a.example"][..]), (&named, &["Müller"])] {
        for versions in [&[&TLS13][..], &[&TLS12]] {
            let (accepted, connected) = meet(&server, pki::client(authority.ca(), Some(own), versions), HOST).await;
            connected.unwrap();
            let peer = accepted.unwrap().1.peer.unwrap();
            assert_eq!(peer.all, *names);
        }
    }
    let nameless = clients.sign_as("nameless", &Wanted::default());
    let control = clients.sign_as("control", &Wanted { common_name: "a\r\nVia: x", ..Wanted::default() });
    for own in [&nameless, &control] {
        let (accepted, _) = meet(&server, pki::client(authority.ca(), Some(own), &[&TLS13]), HOST).await;
        assert!(matches!(accepted, Err(HandshakeError::Nameless)));
    }
    let expired = clients.sign_as("expired", &Wanted { common_name: "old", expired: true, ..Wanted::default() });
    let stranger = strangers.sign("stranger", "carrier-a.example");
    for own in [None, Some(&expired), Some(&stranger)] {
        let (accepted, connected) = meet(&server, pki::client(authority.ca(), own, &[&TLS13, &TLS12]), HOST).await;
        assert!(matches!(accepted, Err(HandshakeError::Tls(_))), "{own:?}");
        assert!(connected.is_err());
    }
}

#[tokio::test]
async fn a_certificate_that_was_taken_back_opens_nothing() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let wanted = |serial| Wanted { common_name: "c", serial: Some(serial), ..Wanted::default() };
    let (good, bad) = (clients.sign_as("good", &wanted(7)), clients.sign_as("bad", &wanted(8)));
    let settings = TlsConfig {
        client_ca: Some(clients.ca().to_owned()),
        client_crl: Some(clients.revoke(&[8])),
        ..settings(&authority.sign("edge", HOST))
    };
    let server = Server::open("tls", &settings).unwrap();
    let (accepted, _) = meet(&server, pki::client(authority.ca(), Some(&good), &[&TLS13]), HOST).await;
    assert!(accepted.is_ok());
    let (accepted, _) = meet(&server, pki::client(authority.ca(), Some(&bad), &[&TLS13]), HOST).await;
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_renewal_shows_the_new_certificate_and_drops_no_connection() {
    let authority = Authority::new("ca");
    let settings = settings(&authority.sign("edge", HOST));
    let listener =
        ListenerConfig { transport: Transport::Tls, tls: Some(settings.clone()), ..ListenerConfig::default() };
    let certificates = Certificates::open(&Config { listeners: vec![listener], ..Config::default() }).unwrap();
    let server = certificates.server(0).unwrap();
    let config = pki::client(authority.ca(), None, &[&TLS13, &TLS12]);
    let (accepted, connected) = meet(&server, Arc::clone(&config), HOST).await;
    let (mut here, mut there) = (accepted.unwrap().0, connected.unwrap());
    let shown = |stream: &client::TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let first = shown(&there);

    assert!(!certificates.renew()[0].renewed, "nothing changed");
    let _ = authority.sign("edge", HOST);
    let view = certificates.renew().remove(0);
    assert!(view.renewed && view.error.is_none() && view.names == [HOST], "{view:?}");
    let (_, connected) = meet(&server, Arc::clone(&config), HOST).await;
    assert_ne!(shown(&connected.unwrap()), first, "new connections see the new one");

    // Files that cannot be used change nothing.
    std::fs::write(&settings.cert, "half a file").unwrap();
    let view = certificates.renew().remove(0);
    assert!(!view.renewed && view.error.as_ref().is_some_and(|e| e.contains("tls.cert")), "{view:?}");
    assert!(meet(&server, config, HOST).await.1.is_ok());

    // And the first connection lives on, in both directions.
    here.write_all(b"old ").await.unwrap();
    there.write_all(b"new ").await.unwrap();
    let mut four = [0; 4];
    there.read_exact(&mut four).await.unwrap();
    here.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"new ");
}

/// Our client against a server of ours.
async fn call(server: &Server, client: &Client, name: Option<&str>) -> (Accepted, Result<Session, HandshakeError>) {
    let (near, far) = pair().await;
    let ip = near.peer_addr().unwrap().ip();
    let connect = async {
        let (mut stream, session) = client.connect(near, name, ip, LIMIT).await?;
        stream.read_u8().await.map_err(HandshakeError::Tls)?;
        Ok(session)
    };
    let accept = async {
        let mut accepted = server.accept(far, LIMIT).await;
        if let Ok((stream, _)) = &mut accepted {
            stream.write_all(b"!").await.unwrap();
        }
        accepted
    };
    tokio::join!(accept, connect)
}

#[tokio::test]
async fn a_carrier_must_have_the_name_that_was_called_and_learns_ours() {
    let (theirs, ours) = (Authority::new("theirs"), Authority::new("ours"));
    let carrier =
        TlsConfig { client_ca: Some(ours.ca().to_owned()), ..settings(&theirs.sign("sbc", "sbc.carrier.example")) };
    let carrier = Server::open("carrier", &carrier).unwrap();
    let own = ours.sign("own", "edge.example.com");
    let peer = TlsPeerConfig {
        ca: Some(theirs.ca().to_owned()),
        cert: Some(own.cert.clone()),
        key: Some(own.key.clone()),
        server_name: None,
    };
    let named = |name: &str| TlsPeerConfig { server_name: Some(name.into()), ..peer.clone() };
    let client = Client::open("carrier", &named("sbc.carrier.example")).unwrap();
    let (accepted, connected) = call(&carrier, &client, Some("ignored.example")).await;
    assert_eq!(accepted.unwrap().1.peer.unwrap().into_first().unwrap(), "edge.example.com");
    assert_eq!(connected.unwrap().peer.unwrap().into_first().unwrap(), "sbc.carrier.example");

    let by_dns = Client::open("carrier", &peer).unwrap();
    assert!(call(&carrier, &by_dns, Some("sbc.carrier.example")).await.1.is_ok(), "the name that was looked up");
    for (settings, name) in
        [(named("other.example"), None), (peer.clone(), None), (peer.clone(), Some("other.example"))]
    {
        let client = Client::open("carrier", &settings).unwrap();
        assert!(matches!(call(&carrier, &client, name).await.1, Err(HandshakeError::Tls(_))));
    }
    let by_address = Server::open("carrier", &settings(&theirs.sign("ip", "127.0.0.1"))).unwrap();
    assert!(call(&by_address, &by_dns, None).await.1.is_ok(), "without a name the address must be in the certificate");
    let unknown =
        Client::open("carrier", &TlsPeerConfig { ca: Some(ours.ca().to_owned()), ..named("sbc.carrier.example") });
    assert!(call(&carrier, &unknown.unwrap(), None).await.1.is_err(), "of an authority that is not believed");
}

#[test]
fn mistakes_in_files_are_said_with_setting_and_remedy() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let pair = authority.sign("edge", HOST);
    let fault = |change: &dyn Fn(&mut TlsConfig)| {
        let mut settings = settings(&pair);
        change(&mut settings);
        let error = Server::open("tls", &settings).unwrap_err();
        (error.field, error.what)
    };
    let says = |(field, what): (&str, String), wanted: &str, part: &str| {
        assert_eq!(field, wanted);
        assert!(what.contains(part), "{what}");
    };
    says(fault(&|s| s.cert = "/nowhere.pem".into()), "cert", "a file that this user can read");
    says(fault(&|s| s.cert = s.key.clone()), "cert", "CERTIFICATE block");
    says(fault(&|s| s.key = s.cert.clone()), "key", "PRIVATE KEY block");
    says(fault(&|s| s.key = other.sign("edge", HOST).key), "key", "belongs to the certificate");
    says(fault(&|s| s.client_ca = Some("/nowhere.pem".into())), "client_ca", "can read");
    says(
        fault(&|s| (s.client_ca, s.client_crl) = (Some(authority.ca().into()), Some(authority.ca().into()))),
        "client_crl",
        "CRL block",
    );
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    says(fault(&|_| {}), "key", "chmod o-rwx");
}
