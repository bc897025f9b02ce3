//! One plan, carried out.

use setu_twin::agent::PhoneCallId;

use crate::invariants;
use crate::scenario::{Plan, Step};
use crate::world::World;

/// A plan that was carried out, up to the last timer.
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) plan: Plan,
    /// Whether every call was over in time.
    pub(crate) ended: bool,
}

impl Run {
    /// How long the longest call may take to be over, after the last step: a customer who lets it ring, and every
    /// timer of RFC 3261 behind that.
    const PATIENCE_MS: u64 = 300_000;

    /// Longer than the last transaction lives: 64 T1, and what a lossy network adds to that.
    const AFTERMATH_MS: u64 = 120_000;

    pub(crate) fn of(mut plan: Plan) -> Self {
        let mut world = World::new(plan.terrain);
        world.register();
        for (wait, step) in &mut plan.steps {
            if *wait > 0 {
                world.run(*wait);
            }
            take(&mut world, step);
        }
        let mut waited = 0;
        while !world.is_quiet() && waited < Self::PATIENCE_MS {
            world.run(500);
            waited += 500;
        }
        let ended = world.is_quiet();
        world.settle();
        world.run(Self::AFTERMATH_MS);
        Self { world, plan, ended }
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.world.bridge.cdrs.len()
    }

    /// What is wrong.
    pub(crate) fn faults(&self) -> Vec<String> {
        invariants::check(self)
    }

    /// Shows everything.
    pub(crate) fn print(&self) {
        eprintln!("{:#?}", self.plan);
        for line in self.world.net.trace() {
            eprintln!("{:>7} {:>6} -> {:<6} {}", line.at_ms, line.from, line.to, line.what);
        }
        for report in &self.world.reports {
            eprintln!("{report:#?}");
        }
        for (phone, report) in &self.world.phone_reports {
            eprintln!("phone {phone} {report:#?}");
        }
        for cdr in &self.world.bridge.cdrs {
            eprintln!("{cdr:#?}");
        }
    }
}

fn take(world: &mut World, step: &mut Step) {
    let now = world.net.now();
    match step {
        Step::Phone(phone, habits) => world.phones[*phone].set_habits((**habits).clone()),
        Step::User(user, answering) => world.edge.set_user(Some(user), (**answering).clone()),
        Step::UserCall(spec) => drop(world.edge.call((**spec).clone(), now)),
        Step::PhoneCall(phone, number, habits) => {
            world.phones[*phone].dial(number, Some((**habits).clone()), now);
        }
        Step::Place(number, user, first) => world.place(number, user, *first),
        Step::ProgramHangsUp => world.hang_up_placed(),
        Step::Cut(peer) => world.cut(*peer),
        Step::Drain => world.drain(),
        Step::PhonesHangUp(phone) => {
            let calls: Vec<PhoneCallId> = world.phones[*phone].active_calls();
            for call in calls {
                world.phones[*phone].hang_up(call, now);
            }
        }
    }
}
