//! Which carriers a call from a node may take, and in which order they are tried.

use domain::Now;
use schemas::SipDecision;
use sip::Message;

use crate::core::Proxy;
use crate::core::dispatch::{Member, Sharing};
use crate::core::set_up::admit::Refusal;
use crate::core::set_up::invite::{Invite, Route};
use crate::core::topology::{Carried, Peer, Topology};

impl Proxy {
    pub(super) fn choose_carriers(
        &mut self,
        now: Now,
        m: &Message<'_>,
        invite: &mut Invite,
        decision: &mut SipDecision,
    ) -> Result<(), Refusal> {
        let number = invite.parties().callee_raw.clone().unwrap_or_default();
        let place = self.topology.routes.of(&number).ok_or(Refusal::new(404, "no_route"))?;
        let route = &self.topology.routes[place];
        let prefix = route.prefix.clone();
        decision.route_rule = Some(format!("prefix/{prefix}"));
        decision.algorithm = Some(route.algorithm().to_owned());
        let is_shared = route.is_shared();
        let (mut carriers, mut denied, mut waits_for_dns) = (route.carriers.clone(), None::<Refusal>, false);
        carriers.retain(|carrier| {
            let trunk = &self.topology.trunks[carrier.trunk];
            if trunk.address.is_none() {
                waits_for_dns |= trunk.name.is_some();
                return false;
            }
            let policy = trunk.policy.admit(m).map_err(Refusal::from);
            let again = invite.forced == Some(Peer::Trunk(carrier.trunk));
            let verdict = policy.and_then(|()| self.trunk_takes(now, (carrier.trunk, again), m, &number, decision));
            match verdict {
                Ok(()) => true,
                Err(why) => {
                    denied.get_or_insert(why);
                    false
                }
            }
        });
        if carriers.is_empty() {
            // A trunk that would take the call in another form says what is wrong with this one.
            let nobody = if waits_for_dns { Refusal::new(503, "no_address") } else { Refusal::new(404, "no_route") };
            return Err(denied.unwrap_or(nobody));
        }
        if is_shared {
            self.share_out(now, place, &mut carriers);
        }
        invite.route = Route::Trunks { prefix, carriers };
        Ok(())
    }

    /// Puts the carrier whose turn it is before the others, which stay in the order of the route.
    fn share_out(&mut self, now: Now, route: usize, carriers: &mut [Carried]) {
        let takes = |carrier: &Carried| carriers.iter().position(|open| open == carrier);
        // Taken out, so that the rest of the machine can be asked meanwhile.
        let mut sharing = std::mem::take(&mut self.sharing[route]);
        let all = &self.topology.routes[route].carriers;
        let first = sharing.choose(all.iter().map(|carrier| Member {
            share: carrier.share.unwrap_or_default(),
            rank: takes(carrier).map(|_| self.carrier_rank(now.mono_us, carrier.trunk)),
        }));
        let first = first.and_then(|at| takes(&all[at]));
        self.sharing[route] = sharing;
        if let Some(first) = first {
            carriers[..=first].rotate_right(1);
        }
    }

    /// Routes that are what they were go on where they are in their round.
    pub(in crate::core) fn routes_changed(&mut self, before: &Topology) {
        let mut old: Vec<Sharing> = std::mem::take(&mut self.sharing);
        let mut kept = |route| Some(std::mem::take(old.get_mut(before.routes.like(route)?)?));
        self.sharing = self.topology.routes.iter().map(|route| kept(route).unwrap_or_default()).collect();
    }
}
