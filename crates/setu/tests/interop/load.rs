//! SIPp plays Meta on one side of the bridge and a PBX on the other, with the scenarios of `examples/sipp`.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::house::Ports;
use crate::peers::until;
use crate::ports::port;
use crate::sipp::{Sipp, trunk_house};

#[test]
fn twenty_calls_a_second_for_half_a_minute_without_a_failure() {
    let pbx = port();
    let house = trunk_house(Ports::pick(), pbx);
    let _bridge = house.serve();
    let sipp = Sipp::prepare(&house);
    let answering = sipp.start("pbx", &["-sf", "trunk_uas.xml", "-t", "u1", "-p", &pbx.to_string()]);
    let mut calling = sipp.start("meta", &sipp.meta_calls(&house, 20, 600, 1_000));
    sipp.went_well(&mut calling, "meta", 600, Duration::from_secs(60));

    let cdrs = house.cdrs(600);
    assert!(cdrs.iter().all(|cdr| cdr.termination.cause.word() == "success"), "a call went wrong");
    assert_eq!(sipp.figure("pbx", "Retransmissions(C)"), 0.0);
    until("every port is given back", Duration::from_secs(10), || house.metric("setu_media_legs") == 0.0);
    drop(answering);
}

#[test]
fn a_pbx_calls_customers_through_metas_challenge_without_a_failure() {
    let pbx = port();
    let house = trunk_house(Ports::pick(), pbx);
    let _bridge = house.serve();
    let sipp = Sipp::prepare(&house);
    let _answering = sipp.start("edge", &sipp.meta_answers(&house));
    let edge = (Ipv4Addr::LOCALHOST, house.ports.edge);
    until("the edge listens", Duration::from_secs(10), || TcpStream::connect(edge).is_ok());
    let mut calling = sipp.start("pbx", &sipp.trunk_calls(&house, pbx, 20, 100, 500));
    sipp.went_well(&mut calling, "pbx", 100, Duration::from_secs(30));

    let cdrs = house.cdrs(100);
    assert!(cdrs.iter().all(|cdr| cdr.termination.cause.word() == "success"), "a call went wrong");
    until("every port is given back", Duration::from_secs(10), || house.metric("setu_media_legs") == 0.0);
    until("Meta's side is over too", Duration::from_secs(10), || {
        sipp.figure("edge", "SuccessfulCall(C)") == 100.0
    });
    assert_eq!(sipp.figure("edge", "FailedCall(C)"), 0.0);
}
