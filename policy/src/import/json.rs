//! Walking JSON that others wrote: what is of another kind than expected, null, or unknown is said, never passed over.

use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::document::Refusal;

/// Reads JSON; its depth is bounded by the parser.
pub(super) fn parse(text: &str) -> Result<Value, Refusal> {
    serde_json::from_str(text).map_err(|error| {
        Refusal::new(
            format!("not JSON: {error}"),
            "give the file as the other program wrote it",
        )
    })
}

/// What is not of the format at all.
pub(super) fn not_this(what: &str) -> Refusal {
    Refusal::new(
        format!("not {what}"),
        "check the format that the command names, and the file",
    )
}

/// An object whose keys are asked for by name; what nobody asked for can be told.
#[derive(Debug)]
pub(super) struct Object<'v> {
    map: &'v Map<String, Value>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'v> Object<'v> {
    pub(super) fn of(value: &'v Value) -> Option<Self> {
        Some(Self {
            map: value.as_object()?,
            asked: RefCell::default(),
        })
    }

    /// The value; one that is null is an error.
    pub(super) fn value(&self, key: &'static str) -> Result<Option<&'v Value>, String> {
        self.asked.borrow_mut().push(key);
        match self.map.get(key) {
            Some(Value::Null) => Err(format!("`{key}` is null")),
            value => Ok(value),
        }
    }

    /// Keys whose values do not matter.
    pub(super) fn pass_over(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend(keys);
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<&'v str>, String> {
        let Some(value) = self.value(key)? else {
            return Ok(None);
        };
        let text = value.as_str();
        text.map(Some).ok_or_else(|| format!("`{key}` is no text"))
    }

    /// Absent is false; 0 and 1 are read too, as text and as numbers.
    pub(super) fn flag(&self, key: &'static str) -> Result<bool, String> {
        Ok(self.number(key)?.is_some_and(|number| number != 0))
    }

    /// A whole number, also one that is written as text or as true and false.
    pub(super) fn number(&self, key: &'static str) -> Result<Option<u64>, String> {
        let Some(value) = self.value(key)? else {
            return Ok(None);
        };
        let number = match value {
            Value::Bool(flag) => Some(u64::from(*flag)),
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64(),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        number
            .map(Some)
            .ok_or_else(|| format!("`{key}` is no whole number"))
    }

    /// One text, or a list of them, which must not be empty.
    pub(super) fn texts(&self, key: &'static str) -> Result<Option<Vec<&'v str>>, String> {
        self.value(key)?.map(|value| texts(key, value)).transpose()
    }

    /// A key that nobody asked for.
    pub(super) fn unknown(&self) -> Option<&'v str> {
        let asked = self.asked.borrow();
        let mut keys = self.map.keys();
        keys.find(|key| !asked.contains(&key.as_str()))
            .map(String::as_str)
    }
}

fn texts<'v>(key: &str, value: &'v Value) -> Result<Vec<&'v str>, String> {
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Array(values) if values.is_empty() => Err(format!("`{key}` is an empty list")),
        Value::Array(values) => values
            .iter()
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| format!("`{key}` holds something else than texts"))
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err(format!("`{key}` is no text and no list of texts"))
        }
    }
}
