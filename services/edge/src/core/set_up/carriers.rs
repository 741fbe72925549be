//! Which carriers a call from a node may take, and in which order they are tried.

use domain::Now;
use schemas::SipDecision;
use sip::Message;

use crate::core::Proxy;
use crate::core::dispatch::Sharing;
use crate::core::set_up::admit::Refusal;
use crate::core::set_up::invite::{Invite, Route};
use crate::core::topology::{Carried, Topology};

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
        let (mut carriers, mut denied, mut waits_for_dns) = (route.carriers.clone(), None::<Refusal>, false);
        carriers.retain(|carrier| {
            let trunk = &self.topology.trunks[carrier.trunk];
            if trunk.address.is_none() {
                waits_for_dns |= trunk.name.is_some();
                return false;
            }
            let policy = trunk.policy.admit(m).map_err(Refusal::from);
            let verdict = policy.and_then(|()| self.trunk_takes(carrier.trunk, m, &number, decision));
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
        decision.algorithm = Some(self.share_out(now, place, &mut carriers).to_owned());
        invite.route = Route::Trunks { prefix, carriers };
        Ok(())
    }

    /// Puts the carrier whose turn it is before the others, which stay in the order of the route. Gives the name of what decided.
    fn share_out(&mut self, now: Now, route: usize, carriers: &mut [Carried]) -> &'static str {
        if !self.topology.routes[route].is_shared() {
            return "ordered";
        }
        let all = &self.topology.routes[route].carriers;
        let takes = |at: usize| carriers.iter().position(|open| open.trunk == all[at].trunk);
        let rank = |at: usize| takes(at).map(|_| self.carrier_rank(now.mono_us, all[at].trunk));
        let ranks: Vec<Option<u8>> = (0..all.len()).map(rank).collect();
        let shares = all.iter().map(|carrier| carrier.share.unwrap_or_default());
        let first = self.sharing[route].choose(shares, |at| ranks[at]).and_then(takes);
        if let Some(first) = first {
            carriers[..=first].rotate_right(1);
        }
        "smooth_weighted"
    }

    /// Routes that are what they were go on where they are in their round.
    pub(in crate::core) fn routes_changed(&mut self, before: &Topology) {
        let mut old: Vec<Sharing> = std::mem::take(&mut self.sharing);
        let mut kept = |route| Some(std::mem::take(old.get_mut(before.routes.like(route)?)?));
        self.sharing = self.topology.routes.iter().map(|route| kept(route).unwrap_or_default()).collect();
    }
}
