//! Checks that a fault leaves a state machine unchanged ([`Fault`]): its debug text is taken before each
//! input, and again after an input that it rejects.
//!
//! Secrets are not in debug texts, so a change of secrets alone is not noticed. A refusal that is sent is taken out before.

use cloister_params::id::PartyId;
use cloister_protocol::fault::Fault;

use super::World;

/// One of a world's state machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateMachine {
    /// The coordinator.
    Coordinator,
    /// A party's member.
    Member(PartyId),
    /// A party's custodian.
    Custodian(PartyId),
}

/// A state machine that changed although it rejected the input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedByFault {
    /// Which one.
    pub machine: StateMachine,
    /// Why it rejected the input.
    pub fault: Fault,
    /// Its debug text before and after, from shortly before the first difference.
    pub change: [String; 2],
}

/// How many characters of a change are stored.
const EXCERPT: usize = 240;

impl World {
    /// From now on, compares state machines before and after an input that they reject. This is slow.
    pub fn watch_faults(&mut self) {
        self.watches_faults = true;
    }

    /// A state machine's debug text, if it will be compared.
    pub(super) fn before_input(&self, machine: StateMachine) -> Option<String> {
        self.watches_faults.then(|| self.print(machine))
    }

    fn print(&self, machine: StateMachine) -> String {
        match machine {
            StateMachine::Coordinator => format!("{:?}", self.coordinator),
            StateMachine::Member(party) => {
                format!("{:?}", self.nodes.get(&party).map(|node| &node.member))
            }
            StateMachine::Custodian(party) => {
                format!("{:?}", self.nodes.get(&party).map(|node| &node.custodian))
            }
        }
    }

    /// Compares a state machine with its debug text before an input that it rejected.
    pub(super) fn after_fault(&mut self, machine: StateMachine, before: Option<String>, fault: &Fault) {
        let Some(before) = before else { return };
        let after = self.print(machine);
        if before == after {
            return;
        }
        // Debug texts of whole state machines are long; a failure should show the place.
        let same = before.chars().zip(after.chars()).take_while(|(one, other)| one == other).count();
        let start = same.saturating_sub(EXCERPT / 2);
        let change = [before, after].map(|printed| printed.chars().skip(start).take(EXCERPT).collect());
        self.changed_by_faults.push(ChangedByFault { machine, fault: fault.clone(), change });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_cluster::consortium::consortium;
    use cloister_cluster::plan::template;

    const MACHINES: [StateMachine; 3] =
        [StateMachine::Coordinator, StateMachine::Member(PartyId(2)), StateMachine::Custodian(PartyId(2))];

    /// The state machines that are reported as changed by a fault if this happens before it is raised.
    fn changed_by(happens: impl Fn(&mut World)) -> Vec<StateMachine> {
        let mut world = World::new(consortium(&[1; 5]), template(1, 4, 15), 2);
        world.watch_faults();
        let before = MACHINES.map(|machine| world.before_input(machine));
        happens(&mut world);
        let fault = Fault::ApiMisuse("made by hand");
        for (machine, before) in MACHINES.into_iter().zip(before) {
            world.after_fault(machine, before, &fault);
        }
        world.changed_by_faults.iter().map(|changed| changed.machine).collect()
    }

    #[test]
    fn a_change_before_a_fault_is_seen() {
        let round = |world: &mut World| {
            world.start_round();
            world.settle();
        };
        assert_eq!(changed_by(round), MACHINES);
        assert_eq!(changed_by(|_| {}), [], "control: nothing happens");
    }
}
