//! The figures of the REST interface, from the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use setu_control::{
    Amounts, Feedback, FeedbackKind, Figured, Figures, NumberQuality, Pending, QualityReading, ReportBy,
    ReportFilter, Sums,
};
use setu_model::{CallCost, Wall};
use setu_store::{ComplaintRow, ReportQuery, Store, StoreFault, digest};
use setu_whatsapp::permission::Customer;
use setu_whatsapp::quality::{Light, Measure, Quality, Reading};
use setu_whatsapp::report::{By, Counted, Line, Report};

use crate::api::Answers;
use crate::bridge::now;
use crate::config::Config;
use crate::durable::names;
use crate::pricing::parts;
use crate::quality::Days;

/// What the figures are about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subjects {
    /// Our numbers, and whether their webhooks tell of revocations.
    pub(crate) numbers: BTreeMap<String, bool>,
    /// The use cases' names for people.
    labels: BTreeMap<String, String>,
    /// The currency of every rate.
    currency: Option<String>,
}

impl Subjects {
    pub(crate) fn of(config: &Config) -> Self {
        let hears = |number: &crate::config::Number| {
            (number.number.clone(), config.webhooks.is_some() && number.phone_number_id.is_some())
        };
        Self {
            numbers: config.numbers.iter().map(hears).collect(),
            labels: config.use_cases.iter().map(|it| (it.name.clone(), it.label.clone())).collect(),
            currency: config.cost.as_ref().map(|cost| cost.currency.clone()),
        }
    }
}

impl Figures for Answers {
    fn quality(&self, number: Option<String>) -> Pending<Option<Vec<NumberQuality>>> {
        let numbers = self.subjects().numbers;
        self.with_store(|store| async move {
            let wanted = |it: &String| number.as_ref().is_none_or(|number| number == it);
            let wanted: Vec<_> = numbers.into_iter().filter(|(it, _)| wanted(it)).collect();
            if number.is_some() && wanted.is_empty() {
                return Ok(None);
            }
            let (mut all, at) = (Vec::with_capacity(wanted.len()), now().wall);
            for (number, hears) in wanted {
                let days = Days::read(&store, &number, at).await?;
                all.push(shown(number, &days.judge(hears, at)));
            }
            Ok(Some(all))
        })
    }

    fn complain(&self, feedback: Feedback) -> Pending<Option<bool>> {
        let ours = self.subjects().numbers.contains_key(&feedback.number);
        // What cannot be read was refused at the door.
        let row = complaint(feedback).filter(|_| ours);
        self.with_store(|store| async move {
            let kept = store.complain(row.as_slice()).await?;
            Ok(kept.first().copied())
        })
    }

    fn report(&self, filter: ReportFilter, by: ReportBy) -> Pending<Figured> {
        let Subjects { labels, currency, .. } = self.subjects();
        let by = match by {
            ReportBy::Number => By::Number,
            ReportBy::UseCase => By::UseCase,
            ReportBy::Day => By::Day,
        };
        let query = query(filter, now().wall);
        self.with_store(move |store| async move {
            let report = add_up(&store, query, by, currency.as_deref()).await?;
            if report.left_out() > 0 {
                tracing::warn!(calls = report.left_out(), "a report has more lines than it may have");
            }
            let lines = report.lines().map(|(key, line)| (key.to_owned(), sums(line))).collect();
            Ok(Figured { currency, lines, total: sums(&report.total()), labels })
        })
    }
}

/// Reads the calls of a report, a page at a time.
async fn add_up(
    store: &Arc<Store>,
    mut query: ReportQuery,
    by: By,
    currency: Option<&str>,
) -> Result<Report, StoreFault> {
    let mut report = Report::default();
    loop {
        let page = store.report(&query).await?;
        for row in &page {
            let written = row.cost.as_deref().and_then(|cost| serde_json::from_str::<CallCost>(cost).ok());
            report.add(
                by,
                &Counted {
                    number: &row.number,
                    use_case: row.use_case.as_deref(),
                    began: row.began,
                    outcome: &row.cause,
                    connected_ms: row.connected_ms.filter(|_| row.answered),
                    cost: written.zip(currency).and_then(|(written, currency)| parts(&written, currency)),
                },
            );
        }
        match page.last() {
            Some(last) if page.len() == query.most => query.after = Some((last.began, last.call.clone())),
            Some(_) | None => return Ok(report),
        }
    }
}

/// The calls a filter lets through. What cannot be read was refused at the door.
fn query(filter: ReportFilter, now: Wall) -> ReportQuery {
    let moment = |text: Option<String>| text.and_then(|text| text.parse::<Wall>().ok());
    let until = moment(filter.until).unwrap_or(now);
    let month_before = Wall::from_unix_ms(until.unix_ms().saturating_sub(31 * 24 * 3_600 * 1_000));
    ReportQuery {
        number: filter.number,
        from: Some(moment(filter.from).unwrap_or(month_before)),
        until: Some(until),
        after: None,
        most: ROWS,
    }
}

/// A complaint over the REST interface is the same if all it says is the same.
fn complaint(feedback: Feedback) -> Option<ComplaintRow> {
    let Feedback { number, customer, kind, at, call } = feedback;
    let moment: Wall = at.parse().ok()?;
    let (name, _) = names(&Customer::of_fields(&customer, None))?;
    let about = call.as_deref().unwrap_or_default();
    let told = moment.unix_ms().to_string();
    let parts = [number.as_str(), &name, kind.word(), &told, about].map(str::as_bytes);
    Some(ComplaintRow {
        complaint: format!("feedback/{}", digest(&parts)),
        number,
        customer: Some(name),
        kind: kind.word().to_owned(),
        source: "feedback".to_owned(),
        moment,
        until: None,
        blames: kind != FeedbackKind::Other,
        call,
    })
}

/// How a number is doing, as it is told.
pub(crate) fn shown(number: String, quality: &Quality) -> NumberQuality {
    let drives = |reading: &&Reading| reading.light != Light::Green;
    let measures = quality.readings.iter().filter(drives).map(|reading| word(reading.measure).to_owned());
    let meta = (quality.meta != Light::Green).then(|| "meta".to_owned());
    NumberQuality {
        number,
        light: quality.light.word().to_owned(),
        readings: quality.readings.iter().map(reading).collect(),
        driven_by: measures.chain(meta).collect(),
        clean_days: quality.clean_days,
        attempts_a_day: quality.attempts_a_day,
        restricted_until: quality.restricted_until.map(|until| until.to_string()),
    }
}

fn reading(reading: &Reading) -> QualityReading {
    let trend = reading.basis_points.zip(reading.before).map(|(now, before)| {
        let better = match reading.measure {
            Measure::AnswerRate => now > before,
            Measure::BlameRate | Measure::ShortRate => now < before,
        };
        if now == before {
            "same"
        } else if better {
            "better"
        } else {
            "worse"
        }
    });
    QualityReading {
        measure: word(reading.measure).to_owned(),
        basis_points: reading.basis_points,
        before: reading.before,
        trend: trend.map(str::to_owned),
        light: reading.light.word().to_owned(),
    }
}

const fn word(measure: Measure) -> &'static str {
    match measure {
        Measure::AnswerRate => "answer_rate",
        Measure::BlameRate => "blame_rate",
        Measure::ShortRate => "short_rate",
    }
}

fn sums(line: &Line) -> Sums {
    let text = |amount: Decimal| amount.normalize().to_string();
    Sums {
        calls: line.calls,
        connected: line.connected,
        connected_ms: line.connected_ms,
        connection_rate: line.connection_rate(),
        average_ms: line.average_ms(),
        outcomes: line.outcomes.clone(),
        priced: line.priced,
        cost: Amounts {
            total: text(line.cost.total()),
            provider: text(line.cost.provider),
            meta: text(line.cost.meta),
            sip: text(line.cost.sip),
            storage: text(line.cost.storage),
            agent: text(line.cost.agent),
            per_connected: line.cost_per_connected().map(text),
        },
    }
}

/// Calls read at a time.
const ROWS: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback(kind: FeedbackKind, at: &str) -> ComplaintRow {
        let (number, customer) = ("+911".to_owned(), "+919876543210".to_owned());
        complaint(Feedback { number, customer, kind, at: at.to_owned(), call: None }).unwrap()
    }

    #[test]
    fn the_same_feedback_is_one_complaint_and_only_blocks_and_reports_count() {
        let at = "2026-11-25T09:00:00Z";
        let block = feedback(FeedbackKind::Block, at);
        assert_eq!(block, feedback(FeedbackKind::Block, "2026-11-25T10:00:00+01:00"));
        assert_ne!(block.complaint, feedback(FeedbackKind::Report, at).complaint);
        assert_ne!(block.complaint, feedback(FeedbackKind::Block, "2026-11-25T09:00:01Z").complaint);
        assert!(block.blames && !feedback(FeedbackKind::Other, at).blames);
        assert_eq!(block.customer.as_deref(), Some("wa:919876543210"));
    }

    #[test]
    fn a_trend_is_better_where_the_measure_wants_it() {
        let shown = |measure, now, before| {
            let it = Reading { measure, basis_points: now, before, light: Light::Green };
            reading(&it).trend
        };
        assert_eq!(shown(Measure::AnswerRate, Some(2), Some(1)).as_deref(), Some("better"));
        assert_eq!(shown(Measure::BlameRate, Some(2), Some(1)).as_deref(), Some("worse"));
        assert_eq!(shown(Measure::ShortRate, Some(1), Some(1)).as_deref(), Some("same"));
        assert_eq!(shown(Measure::ShortRate, None, Some(1)), None);
    }
}
