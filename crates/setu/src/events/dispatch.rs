//! What is posted when: one event of a stream at a time, other streams meanwhile, again after a while, and in the end no more.
//!
//! A machine without clock, store or network. What waits is in the store; the machine asks for the heads of an endpoint's streams
//! ([`Output::Look`]), has those posted that are due, and has their fate kept before it looks again. *Handle, drain, wait.*

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use setu_control::EventAnswer;
use setu_model::{Entropy, Wall};
use setu_store::{OutboxFate, OutboxHead};

/// How long is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    /// How long is waited after the first failure; twice as long after each further one.
    pub(crate) first: Duration,
    /// How often an event is tried before it is given up.
    pub(crate) tries: u32,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Ask the store for the heads of this endpoint's streams; answered by [`Dispatch::handle_heads`].
    Look(String),
    /// Post this to the endpoint; answered by [`Dispatch::handle_answer`].
    Post(String, OutboxHead),
    /// Keep what became of the event of this endpoint, stream and id; answered by [`Dispatch::handle_settled`].
    Settle(String, String, String, OutboxFate),
}

/// The machine.
pub(crate) struct Dispatch {
    retry: Retry,
    entropy: Box<dyn Entropy>,
    endpoints: BTreeMap<String, Endpoint>,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Endpoint {
    /// The streams of which an event is being posted, or its fate kept.
    busy: BTreeSet<String>,
    /// Posts that failed one after the other.
    failures: u32,
    /// It is left alone until then.
    paused: Option<Wall>,
    /// It said that it wants no more, which holds until it is configured anew.
    gone: bool,
    /// When it is to be looked at again.
    next: Option<Wall>,
    /// The store has been asked.
    looking: bool,
    /// Something has changed since.
    stale: bool,
}

impl Dispatch {
    pub(crate) fn new(retry: Retry, entropy: Box<dyn Entropy>) -> Self {
        Self { retry, entropy, endpoints: BTreeMap::new(), outputs: VecDeque::new() }
    }

    /// These are the endpoints from now on. What they said before does not count any more; what is under way goes on.
    pub(crate) fn configure(&mut self, retry: Retry, names: impl IntoIterator<Item = String>) {
        self.retry = retry;
        let mut before = std::mem::take(&mut self.endpoints);
        for name in names {
            let busy = before.remove(&name).map(|endpoint| endpoint.busy).unwrap_or_default();
            self.endpoints.insert(name, Endpoint { busy, ..Endpoint::default() });
        }
        self.handle_announced();
    }

    /// There may be new events.
    pub(crate) fn handle_announced(&mut self) {
        for name in self.endpoints.keys().cloned().collect::<Vec<_>>() {
            self.look(&name);
        }
    }

    /// The heads of an endpoint's streams, those first that are due first; none if the store does not answer.
    pub(crate) fn handle_heads(&mut self, name: &str, heads: Option<Vec<OutboxHead>>, now: Wall) {
        let Some(endpoint) = self.endpoints.get_mut(name) else { return };
        endpoint.looking = false;
        endpoint.next = None;
        let Some(heads) = heads else {
            endpoint.next = Some(now.after(AGAIN));
            return;
        };
        for head in heads {
            if endpoint.busy.contains(&head.stream) {
                continue;
            }
            if endpoint.gone {
                endpoint.busy.insert(head.stream.clone());
                let fate = OutboxFate::Dead { tries: head.tries, why: GONE.to_owned() };
                self.outputs.push_back(Output::Settle(name.to_owned(), head.stream, head.id, fate));
                continue;
            }
            let due = endpoint.paused.map_or(head.due, |paused| paused.max(head.due));
            if due > now {
                endpoint.next = Some(endpoint.next.map_or(due, |next| next.min(due)));
            } else if endpoint.busy.len() < endpoint.room() {
                endpoint.busy.insert(head.stream.clone());
                self.outputs.push_back(Output::Post(name.to_owned(), head));
            }
            // Without room it is looked for again when there is.
        }
        if std::mem::take(&mut endpoint.stale) {
            self.look(name);
        }
    }

    /// What the endpoint said to a post.
    pub(crate) fn handle_answer(&mut self, name: &str, head: OutboxHead, answer: EventAnswer, now: Wall) {
        let Some(endpoint) = self.endpoints.get_mut(name) else { return };
        let OutboxHead { id, stream, tries, .. } = head;
        let tries = tries.saturating_add(1);
        let (why, after) = match answer {
            EventAnswer::Taken => {
                (endpoint.failures, endpoint.paused) = (0, None);
                return self.settle(name, stream, id, OutboxFate::Delivered);
            }
            EventAnswer::Gone => {
                endpoint.gone = true;
                let why = GONE.to_owned();
                return self.settle(name, stream, id, OutboxFate::Dead { tries, why });
            }
            EventAnswer::Refused { status, after } => {
                // Who names a time is left alone until then, and not with one event only.
                let after = after.filter(|_| matches!(status, 429 | 503)).map(|after| after.min(LONGEST));
                (format!("the endpoint answers {status}"), after)
            }
            EventAnswer::Unreached(why) => (why, None),
        };
        endpoint.failures = endpoint.failures.saturating_add(1);
        let over = endpoint.failures.saturating_sub(FAILURES);
        let pause = if over > 0 { Some(doubled(self.retry.first, over).min(PAUSE)) } else { None };
        if let Some(pause) = pause.max(after) {
            endpoint.paused = Some(now.after(pause));
        }
        let fate = if tries >= self.retry.tries {
            OutboxFate::Dead { tries, why }
        } else {
            let wait = doubled(self.retry.first, tries).min(LONGEST);
            // Up to a fifth longer, so that what failed together does not come together.
            let jitter = wait.mul_f64(f64::from(self.entropy.next_u32() % 1_000) / 5_000.0);
            let wait = (wait + jitter).max(after.unwrap_or_default());
            OutboxFate::Later { tries, due: now.after(wait), why }
        };
        self.settle(name, stream, id, fate);
    }

    /// The fate of an event is kept.
    pub(crate) fn handle_settled(&mut self, name: &str, stream: &str) {
        if let Some(endpoint) = self.endpoints.get_mut(name) {
            endpoint.busy.remove(stream);
            self.look(name);
        }
    }

    /// Looks at those endpoints again whose time has come.
    pub(crate) fn handle_timeout(&mut self, now: Wall) {
        let due = |endpoint: &Endpoint| endpoint.next.is_some_and(|next| next <= now);
        let due: Vec<_> =
            self.endpoints.iter().filter(|(_, e)| due(e)).map(|(name, _)| name.clone()).collect();
        for name in due {
            if let Some(endpoint) = self.endpoints.get_mut(&name) {
                endpoint.next = None;
            }
            self.look(&name);
        }
    }

    /// Takes the next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is next due.
    pub(crate) fn poll_timeout(&self) -> Option<Wall> {
        self.endpoints.values().filter_map(|endpoint| endpoint.next).min()
    }

    fn settle(&mut self, name: &str, stream: String, id: String, fate: OutboxFate) {
        self.outputs.push_back(Output::Settle(name.to_owned(), stream, id, fate));
    }

    /// Asks once at a time.
    fn look(&mut self, name: &str) {
        let Some(endpoint) = self.endpoints.get_mut(name) else { return };
        if endpoint.looking {
            endpoint.stale = true;
        } else {
            endpoint.looking = true;
            self.outputs.push_back(Output::Look(name.to_owned()));
        }
    }
}

impl Endpoint {
    /// How many posts may be under way: an endpoint that fails is tried with one.
    const fn room(&self) -> usize {
        if self.failures >= FAILURES { 1 } else { AT_ONCE }
    }
}

/// `first`, twice as long with each time after the first.
fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX))
}

/// Posts to one endpoint at once.
const AT_ONCE: usize = 8;

/// After so many failures in a row the endpoint is at fault, and not the event.
const FAILURES: u32 = 5;

/// The longest an endpoint that fails is left alone.
const PAUSE: Duration = Duration::from_secs(60);

/// The longest between two tries of one event, and the longest that an endpoint may ask for.
const LONGEST: Duration = Duration::from_secs(3_600);

/// When a store that does not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

const GONE: &str = "the endpoint answered 410: it wants no more events until the configuration is read again";

#[cfg(test)]
mod tests {
    use setu_model::SeededEntropy;

    use super::*;

    const RETRY: Retry = Retry { first: Duration::from_secs(5), tries: 4 };

    /// A store, an endpoint `crm` and the time, in which a day passes at once.
    struct World {
        dispatch: Dispatch,
        now: Wall,
        /// What waits, in order: stream, id, tries, due.
        rows: Vec<OutboxHead>,
        dead: Vec<(String, u32, String)>,
        flying: Vec<OutboxHead>,
        posted: Vec<(i64, String)>,
        most: usize,
    }

    impl World {
        fn new(events: &[&str]) -> Self {
            let mut dispatch = Dispatch::new(RETRY, Box::new(SeededEntropy::new(3)));
            dispatch.configure(RETRY, ["crm".to_owned()]);
            let row = |event: &&str| OutboxHead {
                id: (*event).to_owned(),
                stream: event.split('.').next().unwrap().to_owned(),
                payload: String::new(),
                tries: 0,
                due: Wall::from_unix_ms(0),
            };
            let mut world = Self {
                dispatch,
                now: Wall::from_unix_ms(1_000),
                rows: events.iter().map(row).collect(),
                dead: Vec::new(),
                flying: Vec::new(),
                posted: Vec::new(),
                most: 0,
            };
            world.drain();
            world
        }

        fn heads(&self) -> Vec<OutboxHead> {
            let mut seen = BTreeSet::new();
            let mut heads: Vec<_> =
                self.rows.iter().filter(|row| seen.insert(row.stream.clone())).cloned().collect();
            heads.sort_by_key(|head| head.due);
            heads
        }

        fn drain(&mut self) {
            while let Some(output) = self.dispatch.poll_output() {
                match output {
                    Output::Look(name) => self.dispatch.handle_heads(&name, Some(self.heads()), self.now),
                    Output::Post(_, head) => {
                        assert!(head.due <= self.now);
                        let same = self.flying.iter().find(|other| other.stream == head.stream);
                        assert!(same.is_none(), "two events of a stream are under way: {same:?} {head:?}");
                        self.posted.push((self.now.unix_ms() / 1_000, head.id.clone()));
                        self.flying.push(head);
                        self.most = self.most.max(self.flying.len());
                    }
                    Output::Settle(name, stream, id, fate) => {
                        let at = self.rows.iter().position(|row| row.id == id).unwrap();
                        match fate {
                            OutboxFate::Delivered => drop(self.rows.remove(at)),
                            OutboxFate::Later { tries, due, .. } => {
                                (self.rows[at].tries, self.rows[at].due) = (tries, due);
                            }
                            OutboxFate::Dead { tries, why } => {
                                self.rows.remove(at);
                                self.dead.push((id, tries, why));
                            }
                        }
                        self.dispatch.handle_settled(&name, &stream);
                    }
                }
            }
        }

        /// Everything under way is answered.
        fn answer(&mut self, says: impl Fn(&str) -> EventAnswer) {
            for head in std::mem::take(&mut self.flying) {
                let answer = says(&head.id);
                self.dispatch.handle_answer("crm", head, answer, self.now);
            }
            self.drain();
        }

        /// Lets time pass until nothing waits; the endpoint answers at once.
        fn run(&mut self, says: impl Fn(i64, &str) -> EventAnswer) {
            for _ in 0..10_000 {
                let at = self.now.unix_ms() / 1_000;
                self.answer(|id| says(at, id));
                if self.flying.is_empty() {
                    let Some(next) = self.dispatch.poll_timeout() else { return };
                    assert!(next > self.now, "a deadline that is over is not over");
                    self.now = next;
                    self.dispatch.handle_timeout(self.now);
                    self.drain();
                }
            }
            panic!("it never ends: {:?}", self.rows);
        }

        fn ids(&self) -> Vec<&str> {
            self.posted.iter().map(|(_, id)| id.as_str()).collect()
        }
    }

    fn refused(status: u16) -> EventAnswer {
        EventAnswer::Refused { status, after: None }
    }

    #[test]
    fn events_of_a_call_go_one_after_the_other_and_other_calls_are_not_held_up() {
        let mut world = World::new(&["a.1", "a.2", "b.1", "a.3"]);
        assert_eq!(world.ids(), ["a.1", "b.1"]);
        world.run(|_, id| if id == "a.1" { refused(500) } else { EventAnswer::Taken });
        assert_eq!(
            world.dead.iter().map(|(id, tries, _)| (id.as_str(), *tries)).collect::<Vec<_>>(),
            [("a.1", 4)]
        );
        let ids = world.ids();
        assert_eq!(ids, ["a.1", "b.1", "a.1", "a.1", "a.1", "a.2", "a.3"]);
    }

    #[test]
    fn the_wait_doubles_with_some_chance_in_it_and_the_last_failure_gives_up() {
        let mut world = World::new(&["a.1"]);
        world.run(|_, _| EventAnswer::Unreached("no route".to_owned()));
        let at: Vec<i64> = world.posted.iter().map(|(at, _)| *at).collect();
        let waits: Vec<i64> = at.windows(2).map(|two| two[1] - two[0]).collect();
        for (wait, least) in waits.iter().zip([5, 10, 20]) {
            assert!((least..=least * 6 / 5 + 1).contains(wait), "{waits:?}");
        }
        assert_eq!(world.dead, [("a.1".to_owned(), 4, "no route".to_owned())]);
    }

    #[test]
    fn an_endpoint_that_fails_with_everything_is_tried_with_one_event_at_a_time_until_it_recovers() {
        let names: Vec<String> = (0..40).map(|n| format!("c{n}.1")).collect();
        let mut world = World::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(world.flying.len(), AT_ONCE);
        world.run(|at, _| if at < 120 { refused(502) } else { EventAnswer::Taken });
        assert_eq!((world.rows.len(), world.dead.len()), (0, 0), "nothing is lost: {:?}", world.dead);
        let storm = world.posted.iter().filter(|(at, _)| *at < 120).count();
        assert!(storm < 20, "{storm} posts to an endpoint that is down");
        assert!(world.most <= AT_ONCE);
    }

    #[test]
    fn who_says_when_to_come_again_is_left_alone_until_then() {
        for status in [429, 503] {
            let mut world = World::new(&["a.1"]);
            let after = Some(Duration::from_secs(90));
            world.answer(|_| EventAnswer::Refused { status, after });
            world.rows.push(OutboxHead { id: "b.1".into(), stream: "b".into(), ..world.rows[0].clone() });
            world.rows[1].due = world.now;
            world.dispatch.handle_announced();
            world.drain();
            assert_eq!(world.ids(), ["a.1"], "nobody else is posted meanwhile");
            world.run(|_, _| EventAnswer::Taken);
            assert!(world.posted[1..].iter().all(|(at, _)| *at >= 91), "{:?}", world.posted);
            assert_eq!(world.posted.len(), 3);
        }
        // A year is not waited for.
        let mut world = World::new(&["a.1"]);
        let after = Some(Duration::from_secs(31_536_000));
        world.answer(|_| EventAnswer::Refused { status: 503, after });
        assert!(world.dispatch.poll_timeout().unwrap() <= world.now.after(LONGEST));
    }

    #[test]
    fn an_endpoint_that_is_gone_gets_nothing_more_until_it_is_configured_anew() {
        let mut world = World::new(&["a.1", "a.2", "b.1"]);
        world.answer(|id| if id == "a.1" { EventAnswer::Gone } else { EventAnswer::Taken });
        assert_eq!(world.ids(), ["a.1", "b.1"]);
        let dead: Vec<_> = world.dead.iter().map(|(id, tries, _)| (id.as_str(), *tries)).collect();
        assert_eq!(dead, [("a.1", 1), ("a.2", 0)]);
        world.rows.push(OutboxHead {
            id: "c.1".into(),
            stream: "c".into(),
            payload: String::new(),
            tries: 0,
            due: Wall::from_unix_ms(0),
        });
        world.dispatch.configure(RETRY, ["crm".to_owned()]);
        world.drain();
        assert_eq!(world.ids(), ["a.1", "b.1", "c.1"]);
    }

    #[test]
    fn a_store_that_does_not_answer_is_asked_again() {
        let mut world = World::new(&[]);
        world.dispatch.handle_announced();
        assert_eq!(world.dispatch.poll_output(), Some(Output::Look("crm".to_owned())));
        world.dispatch.handle_announced();
        assert_eq!(world.dispatch.poll_output(), None, "once at a time");
        world.dispatch.handle_heads("crm", None, world.now);
        assert_eq!(world.dispatch.poll_timeout(), Some(world.now.after(AGAIN)));
    }
}
