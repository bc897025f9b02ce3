//! Records as lines of text, a page of them at a time.

use std::sync::Arc;

use axum::body::Bytes;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::backend::{Backend, CdrEntry, CdrFilter};

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// A table for spreadsheets (RFC 4180).
    Csv,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Jsonl => "application/jsonl",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// All records that the filter lets through, `first` of which are read already. An export that breaks off ends without its
/// end.
pub(super) fn lines(
    backend: Arc<dyn Backend>,
    filter: CdrFilter,
    format: Format,
    first: Vec<CdrEntry>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    stream::unfold(Some((backend, filter, Some(first))), move |state| async move {
        let (backend, mut filter, mut first) = state?;
        let mut text = String::new();
        let page = match first.take() {
            Some(page) => {
                if format == Format::Csv {
                    text = row(&COLUMNS.map(|(name, _)| name.to_owned()));
                }
                Ok(page)
            }
            None => backend.cdrs(filter.clone()).await,
        };
        match page {
            Ok(cdrs) => {
                for cdr in &cdrs {
                    text.push_str(&match format {
                        Format::Jsonl => json_line(cdr),
                        Format::Csv => row(&COLUMNS.map(|(_, at)| cell(cdr, at))),
                    });
                }
                let next = cdrs.last().filter(|_| cdrs.len() == PAGE as usize).map(|last| {
                    filter.after = Some(last.cursor.clone());
                    (backend, filter, None)
                });
                Some((Ok(Bytes::from(text)), next))
            }
            // The connection breaks off, which a client cannot take for the end.
            Err(why) => Some((Err(std::io::Error::other(why.0)), None)),
        }
    })
}

fn json_line(cdr: &CdrEntry) -> String {
    let mut record = cdr.record.clone();
    if let (Some(fields), Ok(revisions)) = (record.as_object_mut(), serde_json::to_value(&cdr.revisions)) {
        fields.insert("revisions".to_owned(), revisions);
    }
    format!("{record}\n")
}

/// Where a column's value is: in the record, or in what a webhook told later.
#[derive(Clone, Copy)]
enum At {
    Record(&'static str),
    Webhook(&'static str),
}

const COLUMNS: [(&str, At); 22] = [
    ("call", At::Record("/call")),
    ("direction", At::Record("/direction")),
    ("ingress", At::Record("/ingress")),
    ("number", At::Record("/number")),
    ("customer", At::Record("/customer")),
    ("wacid", At::Record("/wacid")),
    ("began", At::Record("/began")),
    ("answered", At::Record("/answered")),
    ("ended", At::Record("/ended")),
    ("setup_ms", At::Record("/setup_ms")),
    ("duration_ms", At::Record("/duration_ms")),
    ("meta_duration_s", At::Record("/meta_duration_s")),
    ("webhook_duration_s", At::Webhook("/duration_s/webhook")),
    ("billed_pulses", At::Webhook("/billed_pulses")),
    ("differences", At::Webhook("/differences")),
    ("cause", At::Record("/termination/cause")),
    ("ended_by", At::Record("/termination/by")),
    ("status", At::Record("/termination/status")),
    ("refused", At::Record("/refused")),
    ("use_case", At::Record("/use_case")),
    ("cost", At::Record("/cost/total")),
    ("currency", At::Record("/cost/currency")),
];

fn cell(cdr: &CdrEntry, at: At) -> String {
    let value = match at {
        At::Record(path) => cdr.record.pointer(path),
        At::Webhook(path) => {
            let told = cdr.revisions.iter().find(|revision| revision.source == "webhook");
            told.and_then(|revision| revision.record.pointer(path))
        }
    };
    value.map(plain).unwrap_or_default()
}

/// A value as a cell: lists by their words, rules by their codes.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => fields.get("code").map(plain).unwrap_or_default(),
    }
}

/// One line of a table.
fn row(cells: &[String]) -> String {
    let mut line = cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

/// A cell between quotes where it needs them (RFC 4180 section 2), and never a formula: what a customer chose may begin like
/// one. A phone number does not count.
fn quoted(cell: &str) -> String {
    let number = cell.strip_prefix('+').is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && !number;
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

/// Records read at a time.
pub(super) const PAGE: u32 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_keeps_to_its_column_and_is_no_formula() {
        for (cell, written) in [
            ("plain", "plain"),
            ("+919876543210", "+919876543210"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+1-2", "'+1-2"),
            ("two\nlines", "\"two\nlines\""),
        ] {
            assert_eq!(quoted(cell), written);
        }
    }

    #[test]
    fn lists_are_words_and_rules_are_codes() {
        let refused = serde_json::json!([{"code": 4005, "title": "t"}, {"code": 4001}]);
        assert_eq!(plain(&refused), "4005 4001");
        assert_eq!(plain(&serde_json::json!(["duration", "pulses"])), "duration pulses");
        assert_eq!(plain(&Value::Null), "");
    }
}
