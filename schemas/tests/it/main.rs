#[test]
fn smoke() {
    let e = schemas::SipTransaction::default();
    let mut enc = schemas::Encoder::new();
    let f = enc.encode(&e).unwrap().to_vec();
    let b: schemas::SipTransaction = schemas::decode(&f).unwrap();
    assert_eq!(b, e);
    let e = schemas::ControlBlock {
        scope: schemas::BlockScope { trunk: Some("x".into()), ..Default::default() },
        ..Default::default()
    };
    let mut enc = schemas::Encoder::new();
    let f = enc.encode(&e).unwrap().to_vec();
    let b: schemas::ControlBlock = schemas::decode(&f).unwrap();
    assert_eq!(b, e);
}
