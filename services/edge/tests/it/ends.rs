//! The two carriers on either side of an edge that runs on real sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sim::carrier::{CallPlan, Carrier, CarrierConfig, CarrierHandle};
use sim::ledger::Ledger;

/// Longer than anything a call waits for on loopback; shorter than the 32 s after which a request without an answer is given up.
pub const LONG: Duration = Duration::from_secs(30);

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub struct Ends {
    pub ledger: Ledger,
    pub caller: CarrierHandle,
    pub far: CarrierHandle,
}

impl Ends {
    pub fn start(caller: &str, far: &str) -> Ends {
        let ledger = Ledger::new();
        let carrier = |id: &str, seed| {
            Carrier::start(CarrierConfig::new(id, loopback(), loopback(), seed, ledger.clone())).unwrap()
        };
        let (caller, far) = (carrier(caller, 1), carrier(far, 2));
        Ends { ledger, caller, far }
    }

    pub async fn place(&self, call_id: &str, to: &str, hold_ms: u64) {
        let plan = CallPlan::new(call_id, "+4917012345", to, Duration::from_millis(hold_ms));
        self.caller.place(plan).await.unwrap();
    }

    /// Waits until the carriers hold no call.
    pub async fn settled(&self) {
        let deadline = Instant::now() + LONG;
        loop {
            let (a, b) = (self.caller.open().await.unwrap(), self.far.open().await.unwrap());
            if a.placed + b.received == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "calls still open: {:#?}", self.open());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the books say of the calls that have not ended.
    pub fn open(&self) -> Vec<String> {
        let books = self.ledger.snapshot();
        let placed = books.calls.iter().filter(|c| !c.closed).map(|c| format!("placed {c:?}"));
        let received = books.legs.iter().filter(|l| !l.closed).map(|l| format!("received {l:?}"));
        placed.chain(received).collect()
    }

    pub fn code_of(&self, call_id: &str) -> Option<u16> {
        let books = self.ledger.snapshot();
        books.calls.iter().find(|c| &*c.call_id == call_id).and_then(|c| c.final_code)
    }
}
