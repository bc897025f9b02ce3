//! Agents' phones for a house.

use std::net::Ipv4Addr;
use std::time::Duration;

use setu_twin::Transport;
use setu_twin::agent::{Habits, PhoneConfig};
use setu_twin::shell::{PhoneHandle, PhoneOptions, spawn_phone};

use crate::house::House;

impl House {
    /// An agent's phone on `account`, registered.
    pub(crate) async fn phone(&self, account: &str, password: &str, habits: Habits) -> PhoneHandle {
        let phone = self.unregistered_phone(account, password, habits).await;
        phone.register(Duration::from_secs(20)).await.unwrap();
        phone
    }

    /// The same, which has not registered.
    pub(crate) async fn unregistered_phone(
        &self,
        account: &str,
        password: &str,
        habits: Habits,
    ) -> PhoneHandle {
        let config = PhoneConfig {
            bridge_host: Ipv4Addr::LOCALHOST.to_string(),
            bridge_port: self.ports.udp,
            sip_port: 0,
            media_ports: vec![0; 4],
            habits,
            ..PhoneConfig::softphone(account, password, "setu", Transport::Udp)
        };
        spawn_phone(PhoneOptions::new(config)).await.unwrap()
    }
}
