//! What a file must not say because it would cost a number its permission to call.

use std::collections::BTreeSet;

use setu_whatsapp::campaign::Campaigns;

use super::validate::{Findings, e164, name};
use super::{Config, Hours, Number, Requests};

pub(super) fn guards(config: &Config, found: &mut Findings) {
    use_cases(config, found);
    countries(config, found);
    hours(config, found);
    requests(config, found);
    caller_ids(config, found);
    private_trunks(config, found);
    for (i, number) in config.numbers.iter().enumerate() {
        extension(i, number, found);
    }
}

/// Cold outbound is not a use case.
fn use_cases(config: &Config, found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (i, use_case) in config.use_cases.iter().enumerate() {
        let at = |field: &str| format!("use_cases[{i}].{field}");
        name(&at("name"), &use_case.name, &mut seen, found);
        for (field, text) in [("name", &use_case.name), ("label", &use_case.label)] {
            if is_cold_outbound(text) {
                found.add(
                    at(field),
                    format!("{text:?} is cold outbound, which is not a use case"),
                    "calls are for customers who wrote, called or gave permission: name what they wait for, or remove it",
                );
            }
        }
        if use_case.label.trim().is_empty() {
            found.add(at("label"), "empty", "say what the calls are for, such as \"Cart recovery\"");
        }
        if use_case.trigger.iter().any(|payload| matches!(payload.as_str(), "" | "*")) {
            found.add(
                at("trigger"),
                "it fits every payload",
                "write the beginning of the payloads, such as \"cart-*\"",
            );
        }
        if let Some(script) = &use_case.script
            && !["https://", "http://"].iter().any(|scheme| script.starts_with(scheme))
        {
            found.add(at("script"), format!("{script:?} is no address"), "write it as \"https://..\"");
        }
    }
    let known = |wanted: &String| config.use_cases.iter().any(|use_case| use_case.name == *wanted);
    let numbers = config.numbers.iter().enumerate().flat_map(|(i, number)| {
        let listed = number.use_cases.iter().flatten();
        listed.map(move |wanted| (format!("numbers[{i}].use_cases"), wanted))
    });
    let accounts = config.accounts.iter().enumerate();
    let accounts =
        accounts.filter_map(|(i, it)| Some((format!("accounts[{i}].use_case"), it.use_case.as_ref()?)));
    let trunks = config.trunks.iter().enumerate();
    let trunks = trunks.filter_map(|(i, it)| Some((format!("trunks[{i}].use_case"), it.use_case.as_ref()?)));
    for (setting, wanted) in numbers.chain(accounts).chain(trunks) {
        if !known(wanted) {
            found.add(
                setting,
                format!("no use case named {wanted:?}"),
                "add a [[use_cases]] section with that name",
            );
        }
    }
}

/// Whether words mean calls to people who never spoke to the business.
fn is_cold_outbound(text: &str) -> bool {
    let text = text.to_lowercase();
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let cold = words.windows(2).any(|pair| {
        matches!(pair, ["cold", next] if COLD_WHAT.iter().any(|what| next.starts_with(what)))
            || matches!(pair, [before, "cold"] if COLD_WHAT.iter().any(|what| before.starts_with(what)))
    });
    let joined = words.concat();
    cold || words == ["cold"] || ALWAYS_COLD.iter().any(|word| joined.contains(word))
}

/// What "cold" stands beside where it means people, not the weather.
const COLD_WHAT: [&str; 9] =
    ["call", "outbound", "outreach", "list", "lead", "contact", "campaign", "sale", "prospect"];

const ALWAYS_COLD: [&str; 7] = [
    "coldcall",
    "coldoutbound",
    "coldoutreach",
    "telemarket",
    "prospecting",
    "unsolicited",
    "leadgeneration",
];

fn countries(config: &Config, found: &mut Findings) {
    let blocked = config.calling.blocked_countries.iter().map(|code| ("calling.blocked_countries", code));
    let priced = config.cost.iter().flat_map(|cost| cost.meta_per_minute.keys());
    let numbers =
        config.numbers.iter().filter_map(|number| Some(("numbers.country", number.country.as_ref()?)));
    for (setting, code) in blocked.chain(priced.map(|code| ("cost.meta_per_minute", code))).chain(numbers) {
        if code.len() != 2 || !code.bytes().all(|letter| letter.is_ascii_uppercase()) {
            found.add(setting, format!("{code:?} is no country"), "write its two letters, such as \"IN\"");
        }
    }
    if let Some(cost) = &config.cost
        && (cost.currency.len() != 3 || !cost.currency.bytes().all(|letter| letter.is_ascii_uppercase()))
    {
        found.add(
            "cost.currency",
            format!("{:?} is no currency", cost.currency),
            "write its three letters, such as \"INR\"",
        );
    }
}

/// When customers may be called.
fn hours(config: &Config, found: &mut Findings) {
    let Hours { from, to, zones, .. } = &config.hours;
    let midnight = jiff::civil::Time::midnight();
    if *to != midnight && from >= to {
        found.add(
            "hours.to",
            format!("{to} is not after {from}, so that nobody may ever be called"),
            "name a later moment; \"00:00\" is the end of the day",
        );
    }
    for prefix in zones.keys() {
        if prefix.is_empty() || !prefix.bytes().all(|digit| digit.is_ascii_digit()) {
            found.add(
                "hours.zones",
                format!("{prefix:?} is not how a number begins"),
                "write the digits without \"+\", such as \"91\"",
            );
        }
    }
}

/// How customers may be asked for permission. Beyond the upper bounds a number's past is not looked at.
fn requests(config: &Config, found: &mut Findings) {
    let Requests { burst, burst_s, sample, cold_percent } = config.calling.requests;
    let most = u32::try_from(Campaigns::RECALLED).unwrap_or(u32::MAX);
    for (field, value, least, most) in [
        ("burst", burst, 1, most),
        ("burst_s", burst_s, 1, 3_600),
        ("sample", sample, 2, most),
        ("cold_percent", cold_percent, 0, 100),
    ] {
        if !(least..=most).contains(&value) {
            let remedy = format!("choose {least} to {most}");
            found.add(format!("calling.requests.{field}"), format!("{value} is out of range"), remedy);
        }
    }
}

/// Customers who know a number from a dialler's calls block and report it.
fn caller_ids(config: &Config, found: &mut Findings) {
    for (i, caller_id) in config.pstn.caller_ids.iter().enumerate() {
        e164(&format!("pstn.caller_ids[{i}]"), caller_id, found);
    }
    for (i, number) in config.numbers.iter().enumerate() {
        if config.pstn.caller_ids.contains(&number.number) {
            found.add(
                format!("numbers[{i}].number"),
                format!("{} is the caller id of a dialler on the public telephone network, too", number.number),
                "use a number with WhatsApp that no dialler shows, or take it from the dialler and from pstn.caller_ids",
            );
        }
    }
}

/// A WhatsApp leg must not reach the public telephone network, whichever side began the call.
fn private_trunks(config: &Config, found: &mut Findings) {
    for (i, trunk) in config.trunks.iter().enumerate() {
        let takes = config.numbers.iter().any(|number| number.trunk.as_ref() == Some(&trunk.name));
        match trunk.pstn {
            _ if !takes && trunk.number.is_none() => {}
            Some(false) => {}
            Some(true) => found.add(
                format!("trunks[{i}].pstn"),
                "WhatsApp calls are bridged with it, and must not reach the public telephone network",
                "bridge them with a trunk that has pstn = false",
            ),
            None => found.add(
                format!("trunks[{i}].pstn"),
                "missing, although WhatsApp calls are bridged with the trunk",
                "say pstn = false if it leads to no public telephone network",
            ),
        }
    }
}

fn extension(i: usize, number: &Number, found: &mut Findings) {
    if let Some(extension) = &number.extension
        && !extension.is_empty()
        && setu_call::Extension::configured(extension).is_none()
    {
        found.add(
            format!("numbers[{i}].extension"),
            format!("{extension:?} is a telephone number"),
            "name an extension of the PBX: WhatsApp calls must not go to the public telephone network",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cold_outbound_is_recognised_however_it_is_written() {
        for text in [
            "cold",
            "cold-call",
            "Cold Calling",
            "coldcalls",
            "cold_outbound",
            "Outbound, cold",
            "Cold leads of May",
            "tele-marketing",
            "Prospecting",
            "Lead generation",
        ] {
            assert!(is_cold_outbound(text), "{text}");
        }
        for text in
            ["cart", "kyc", "Complaint", "Counsellor", "Cold chain delivery", "Scolded", "Outbound KYC"]
        {
            assert!(!is_cold_outbound(text), "{text}");
        }
    }
}
