//! Somebody is set aside before a call comes.

use std::time::Duration;

use setu_call::{Held, Input, NotReserved, Placed, Reservation, Reserve, SeatState, Staff};
use setu_model::{CallId, Ingress, LegId, Pii};

use crate::support::{CUSTOMER, House, META_OFFER, NUMBER, TRUNK_NUMBER};

fn wanted(customer: Option<&str>) -> Reserve {
    Reserve {
        number: NUMBER.into(),
        customer: customer.map(|customer| Pii::new(customer.to_owned())),
        lasts: Duration::from_secs(60),
        use_case: Some("delivery".into()),
        reference: Some("T-1".into()),
        ..Reserve::default()
    }
}

fn reserve(house: &mut House, n: u128, wanted: Reserve) -> Result<Reservation, NotReserved> {
    let now = house.now;
    house.board.reserve(CallId::from_bits(1 << 64 | n), wanted, now)
}

fn states(house: &House) -> Vec<SeatState> {
    match house.board.staff(NUMBER) {
        Some(Staff::Agents(seated)) => seated.into_iter().map(|seated| seated.state).collect(),
        Some(Staff::Trunk { .. }) | None => Vec::new(),
    }
}

fn house() -> House {
    let mut house = House::with_alice();
    house.register("bob", 2);
    house
}

#[test]
fn the_agent_who_was_set_aside_takes_the_call_of_his_customer_and_nobody_elses() {
    let mut house = house();
    let made = reserve(&mut house, 1, wanted(Some(CUSTOMER))).unwrap();
    assert_eq!(made.held, Held::Agent("alice".into()));
    assert_eq!(states(&house), [SeatState::Reserved, SeatState::Ready]);
    // Another customer gets bob, and a third nobody.
    let other = house.somebody_calls("+919876500000");
    house.ports_open(other);
    assert_eq!(house.says().last().unwrap(), "dial 1 bob at 2");
    let third = house.somebody_calls("+919876500001");
    house.ends(LegId::originator(third), setu_call::EndHow::Local);
    assert!(house.says().contains(&"refuse 0 480".to_owned()));
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    assert_eq!(house.says().last().unwrap(), "dial 1 alice at 1");
    let facts = &house.dials.last().unwrap().facts;
    assert_eq!((facts.use_case.as_deref(), facts.reference.as_deref()), (Some("delivery"), Some("T-1")));
    assert_eq!(house.board.reservations().count(), 0, "it is used up");
    assert_eq!(states(&house), [SeatState::OnCall, SeatState::OnCall]);
}

#[test]
fn a_reservation_for_nobody_in_particular_is_for_the_next_who_calls() {
    let mut house = House::with_alice();
    reserve(&mut house, 1, wanted(None)).unwrap();
    // A call that the bridge places does not use it up.
    let call = house.places(Ingress::Sip, Placed { number: NUMBER.into(), ..Placed::default() });
    house.ends(LegId::originator(call), setu_call::EndHow::Local);
    assert_eq!(house.records[0].refused[0].code, 4003);
    house.says();
    let call = house.somebody_calls("+919876500000");
    house.ports_open(call);
    assert_eq!(house.says().last().unwrap(), "dial 1 alice at 1");
}

#[test]
fn a_placed_call_uses_the_reservation_it_names_or_that_of_its_customer() {
    for named in [true, false] {
        let mut house = house();
        // Bob, whom the route would ring second.
        let only_bob = Reserve { agents: vec!["bob".into()], ..wanted(Some(CUSTOMER)) };
        let made = reserve(&mut house, 1, only_bob).unwrap();
        let reservation = named.then_some(made.id);
        let call =
            house.places(Ingress::Sip, Placed { number: NUMBER.into(), reservation, ..Placed::default() });
        house.ports_open(call);
        assert_eq!(house.says().last().unwrap(), "dial 1 bob at 2");
        assert_eq!(house.board.reservations().count(), 0);
    }
}

#[test]
fn a_reservation_ends_by_itself_or_is_given_back_and_the_agent_is_ready_again() {
    let mut house = House::with_alice();
    let made = reserve(&mut house, 1, wanted(None)).unwrap();
    assert_eq!(made.until.unix_ms() - house.now.wall.unix_ms(), 60_000);
    house.wait(Duration::from_secs(59));
    assert_eq!(states(&house), [SeatState::Reserved, SeatState::Away]);
    house.wait(Duration::from_secs(1));
    assert_eq!((states(&house)[0], house.board.reservation(made.id)), (SeatState::Ready, None));

    let made = reserve(&mut house, 2, wanted(None)).unwrap();
    assert_eq!(house.board.unreserve(made.id), Some(made.clone()));
    assert_eq!((states(&house)[0], house.board.unreserve(made.id)), (SeatState::Ready, None));
    house.is_clean();
}

#[test]
fn an_agent_who_went_away_is_not_waited_for() {
    let mut house = house();
    reserve(&mut house, 1, wanted(Some(CUSTOMER))).unwrap();
    let gone = setu_call::DeskChange::ContactDown { agent: "alice".into(), contact: setu_call::ContactId(1) };
    house.tell(Input::Desk(gone));
    let call = house.user_calls(NUMBER, Some(META_OFFER));
    house.ports_open(call);
    assert_eq!(house.says().last().unwrap(), "dial 1 bob at 2");
    assert_eq!(house.board.reservations().count(), 0);
}

#[test]
fn nobody_is_set_aside_where_nobody_is_free() {
    let mut house = House::new();
    let no = |why| Err(NotReserved::NoAgent(why));
    assert_eq!(reserve(&mut house, 1, wanted(None)), no("no agent is registered"));
    house.register("alice", 1);
    let (_, _, agent) = house.talking();
    assert_eq!(agent.index, 1);
    assert_eq!(reserve(&mut house, 2, wanted(None)), no("no agent is free"));
    let nowhere = Reserve { number: "+15550009999".into(), ..wanted(None) };
    assert_eq!(reserve(&mut house, 3, nowhere), Err(NotReserved::UnknownNumber));
    let trunk = || Reserve { number: TRUNK_NUMBER.into(), ..wanted(None) };
    assert_eq!(reserve(&mut house, 4, trunk()).unwrap().held, Held::Trunk("pbx".into()));
    house.tell(Input::Desk(setu_call::DeskChange::TrunkDown { trunk: "pbx".into() }));
    assert_eq!(reserve(&mut house, 5, trunk()), no("the trunk does not answer"));
    assert_eq!(house.board.staff(TRUNK_NUMBER), Some(Staff::Trunk { trunk: "pbx".into(), up: false }));
    house.tell(Input::Drain);
    let draining = Err(NotReserved::Unable("the bridge is draining"));
    assert_eq!(reserve(&mut house, 6, wanted(None)), draining);
}

#[test]
fn an_agent_of_a_reservation_who_answers_talks_as_any_other() {
    let mut house = House::with_alice();
    reserve(&mut house, 1, wanted(Some(CUSTOMER))).unwrap();
    let (call, meta, _) = house.talking();
    house.ends(meta, setu_call::EndHow::Bye);
    house.confirm(call, &[1]);
    house.says();
    assert_eq!(house.the_record().facts.reference.as_deref(), Some("T-1"));
    house.ended_with(setu_model::Cause::Success);
}
