//! Who gets in, cheapest check first.
//!
//! The order is an argument: each check costs more than the one before and sees only what that let through. Whose address it is
//! (`Sources`, before a byte is read); does it look like SIP (`datagram`); can it be read; does its source ask for too much
//! (`Meters`); and only then what it wants. Nobody is blocked by an address here: by UDP an address proves nothing. What is above
//! a bucket is taken when it comes again (`Again`), which the owner of the address does and a flood does not.
//!
//! Everything has a fixed size: the memory of this folder is what it takes at start.

mod again;
mod asking;
mod bucket;
mod calling;
mod datagram;
mod dial;
mod distinct;
mod gate;
mod knocking;
mod meters;
mod methods;
mod mix;
mod overload;
mod ranges;
mod rejections;
mod scanner;
mod shares;
mod sources;
mod trunk;
mod window;

pub use gate::Limits;
pub use knocking::{Knock, Told as Knocked};
pub use methods::Methods;
pub use ranges::{Class as RangeClass, Ranges};
pub use rejections::{Refused, UNKNOWN_SOURCE};
pub use shares::{Told, Use};
pub use sources::Sources;

pub(super) use datagram::{Look, look};
pub(super) use meters::Class;
pub(super) use trunk::TrunkState;

use again::Again;
use bucket::Rate;
use dial::Dial;
use knocking::Knocking;
use meters::{Meters, Rates};
use mix::Mixer;
use overload::Overload;
use rejections::Rejections;

use super::Topology;
use crate::config::{AdmissionConfig, Config, Side};
use crate::core::proof::hash::Seed;

/// Tables of the admission.
#[derive(Debug)]
pub struct Admission {
    pub meters: Meters,
    pub again: Again,
    pub rejections: Rejections,
    pub knocking: Knocking,
    pub overload: Overload,
    pub dial: Dial,
    /// When the edges that share the limits were last heard.
    pub told_at: Option<u64>,
}

impl Admission {
    #[must_use]
    pub fn new(seed: Seed, config: &Config) -> Admission {
        let keys = seed.key(&[b"admission"]);
        let mixer = Mixer::new(keys as u64, (keys >> 64) as u64);
        Admission {
            meters: Meters::new(mixer),
            again: Again::default(),
            rejections: Rejections::new(mixer),
            knocking: Knocking::default(),
            overload: Overload::default(),
            dial: Dial::new(&config.dial),
            told_at: None,
        }
    }

    /// Other settings: what may be dialled, and who is no stranger any more.
    pub fn follow(&mut self, config: &Config, topology: &Topology) {
        self.dial = Dial::new(&config.dial);
        self.knocking.retain(|from| topology.classify(Side::Trunk, from).is_none());
    }
}

impl Rates {
    /// What one source of a trunk may send: of new calls a multiple of what the trunk may begin.
    #[must_use]
    pub fn of_trunk(config: &AdmissionConfig, cps: f64) -> Rates {
        let invites = if cps > 0.0 { cps * config.invites_per_cps } else { config.invites_per_s };
        // A site behind one address comes back all at once.
        let register = config.registers_per_10s / 10.0;
        Rates {
            malformed: Rate::per_second(config.malformed_per_s),
            options: Rate::per_second(config.options_per_s),
            register: Rate::new(register, config.registers_per_10s),
            invite: Rate::per_second(invites),
            stray: Rate::per_second(config.strays_per_s),
        }
    }
}
