use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use domain::{CallId, Clock, LegId};
use kit::clock::SystemClock;
use kit::{Host, Instance, InstanceError, Lifecycle, Metrics, Service, keys};

#[test]
fn the_id_stays_and_the_epoch_grows_from_start_to_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = Instance::open(dir.path(), "edge").unwrap();
    let (id, epoch) = (first.id.clone(), first.epoch);
    assert_eq!(first.producer(), format!("edge/{id}"));
    assert_eq!(first.dir, dir.path().join("edge"));
    drop(first);
    let second = Instance::open(dir.path(), "edge").unwrap();
    assert_eq!(second.id, id);
    assert!(second.epoch > epoch);
}

#[test]
fn an_epoch_never_goes_back_with_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let first = Instance::open(dir.path(), "edge").unwrap();
    let id = first.id.clone();
    drop(first);
    let future = SystemClock.now().wall_us + 3_600_000_000;
    std::fs::write(dir.path().join("edge/instance"), format!("{id} {future}\n")).unwrap();
    assert_eq!(Instance::open(dir.path(), "edge").unwrap().epoch, future + 1);
}

#[test]
fn two_processes_cannot_be_the_same_instance() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Instance::open(dir.path(), "edge").unwrap();
    let error = Instance::open(dir.path(), "edge").unwrap_err();
    assert!(
        matches!(&error, InstanceError::InUse { owner, .. } if *owner == std::process::id().to_string()),
        "{error}"
    );
    assert!(Instance::open(dir.path(), "engine").is_ok(), "another service has its own");
}

#[test]
fn a_damaged_file_gives_a_new_id_instead_of_somebody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let id = Instance::open(dir.path(), "edge").unwrap().id.clone();
    std::fs::write(dir.path().join("edge/instance"), "../../x 5").unwrap();
    let renewed = Instance::open(dir.path(), "edge").unwrap();
    assert!(renewed.id != id && renewed.id.len() == 12);
}

#[test]
fn the_first_key_is_made_once_kept_private_and_signs_what_it_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let keys_dir = dir.path().join("keys");
    let missing = keys::load(&keys_dir).unwrap_err().to_string();
    assert!(missing.contains("identity.keys_dir") && missing.contains("make one with"), "{missing}");
    let made = keys::ensure(&keys_dir).unwrap();
    let again = keys::ensure(&keys_dir).unwrap();
    let files: Vec<_> = std::fs::read_dir(&keys_dir).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let call = CallId::new(1_700_000_000_000_000, [7; 10]);
    let leg = LegId::edge(&call, "a@b", "tag", 1, 0);
    assert_eq!(again.verify(&made.sign(&call, &leg)).unwrap().call, call);
}

#[test]
fn the_newest_key_signs_and_all_verify() {
    let dir = tempfile::tempdir().unwrap();
    let private = std::fs::Permissions::from_mode(0o600);
    for (name, byte) in [("20260101", 1_u8), ("20261121.key", 2)] {
        std::fs::write(dir.path().join(name), [byte; 32]).unwrap();
        std::fs::set_permissions(dir.path().join(name), private.clone()).unwrap();
    }
    assert_eq!(keys::load(dir.path()).unwrap().signing_id(), "20261121");
}

#[test]
fn a_key_that_others_can_read_or_that_is_short_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("20261121");
    std::fs::write(&file, [1; 32]).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let open = keys::load(dir.path()).unwrap_err().to_string();
    assert!(open.contains("mode 640") && open.contains("chmod 600"), "{open}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, [1; 31]).unwrap();
    assert!(keys::load(dir.path()).unwrap_err().to_string().contains("31 bytes"));
}

#[test]
fn both_clocks_run_and_this_boot_has_a_name() {
    let (a, b) = (SystemClock.now(), SystemClock.now());
    assert!(b.mono_us >= a.mono_us && a.wall_us > 1_700_000_000_000_000);
    assert_eq!(kit::clock::boot_id().len(), 36);
}

#[tokio::test]
async fn a_service_can_be_opened_again_after_it_was_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host {
        life: Lifecycle::new(crate::wait::LONG),
        metrics: Metrics::new(),
        clock: Arc::new(SystemClock),
        data_dir: dir.path().to_owned(),
        run_dir: kit::default_run_dir(),
        keys: Arc::new(keys::ensure(&dir.path().join("keys")).unwrap()),
    };
    let first = Service::open("cdr", &host).unwrap();
    assert_eq!(first.data_dir, dir.path().join("cdr"));
    assert!(Service::open("cdr", &host).is_err(), "while the first one lives");
    let producer = first.instance.producer();
    assert!(first.life.stop().await.is_clean());
    drop(first);
    assert_eq!(Service::open("cdr", &host).unwrap().instance.producer(), producer);
}
