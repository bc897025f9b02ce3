//! Reading JSON that may have strings for numbers, empty strings for nothing, and fields nobody announced.

use serde_json::Value;
use setu_model::Wall;

/// One change of one entry, and when it came.
pub(super) struct Source<'j> {
    pub(super) entry: &'j Value,
    pub(super) change: &'j Value,
    pub(super) received: Wall,
}

impl<'j> Source<'j> {
    pub(super) fn field(&self) -> &'j str {
        text(self.change, "field").unwrap_or_default()
    }

    pub(super) fn value(&self) -> &'j Value {
        self.change.get("value").unwrap_or(&Value::Null)
    }

    /// The moment an object names in `timestamp`, or when it came: nothing is told before it happens, and what claims to
    /// would outlive all that contradicts it later.
    pub(super) fn moment(&self, object: &Value) -> Wall {
        self.past(object, "timestamp").unwrap_or(self.received)
    }

    /// A field's moment, of something that has happened: at the latest when it came.
    pub(super) fn past(&self, object: &Value, field: &str) -> Option<Wall> {
        moment(object, field).map(|at| at.min(self.received))
    }
}

/// A field's text; nothing if it is empty or no string.
pub(super) fn text<'j>(object: &'j Value, field: &str) -> Option<&'j str> {
    object.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A field's text, or its number as text: ids come as either.
pub(super) fn word(object: &Value, field: &str) -> Option<String> {
    match object.get(field)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A field's whole number, whether it is written as one or as a string.
pub(super) fn number(object: &Value, field: &str) -> Option<i64> {
    match object.get(field)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A field's truth.
pub(super) fn truth(object: &Value, field: &str) -> Option<bool> {
    match object.get(field)? {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A field's moment, in seconds since the Unix epoch.
pub(super) fn moment(object: &Value, field: &str) -> Option<Wall> {
    // Beyond the year 9999 it is no moment but a mistake.
    let seconds = number(object, field).filter(|seconds| (0..253_402_300_800).contains(seconds))?;
    Some(Wall::from_unix_ms(seconds * 1_000))
}

/// A field's list; an empty one if it has none.
pub(super) fn list<'j>(object: &'j Value, field: &str) -> &'j [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
