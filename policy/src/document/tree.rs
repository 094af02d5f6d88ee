//! The parsed file as a tree that remembers where each key and value stands and which keys were read.

use std::cell::{Cell, RefCell};

use toml::de::{DeTable, DeValue};

use crate::moment::WallTime;

/// A value and the byte offset it begins at.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) start: usize,
    pub(super) value: Value,
}

/// The values that a configuration uses; the others are kept by name only, to be refused.
#[derive(Debug)]
pub(super) enum Value {
    String(String),
    /// Absent: the number does not fit 64 bits.
    Integer(Option<i64>),
    Boolean(bool),
    Float,
    /// Absent: without a date, a time of day or an offset.
    Date(Option<WallTime>),
    Array(Vec<Node>),
    Table(Table),
}

impl Value {
    /// The value's kind, with its article, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Float => "a fraction",
            Self::Date(_) => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
    /// Names that were asked for: what may stand in this table.
    pub(super) asked: RefCell<Vec<&'static str>>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_start: usize,
    pub(super) node: Node,
    pub(super) read: Cell<bool>,
}

impl Entry {
    /// Marks the key and all that stands beneath it as read.
    pub(super) fn pass_over(&self) {
        self.read.set(true);
        self.node.pass_over();
    }
}

impl Table {
    pub(super) fn ask(&self, key: &'static str) -> Option<&Entry> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        entry.read.set(true);
        Some(entry)
    }

    /// Calls `report` for every key that nobody read; what stands beneath such a key is not reported again.
    pub(super) fn each_unread(&self, report: &mut dyn FnMut(&Self, &Entry)) {
        for entry in &self.entries {
            if entry.read.get() {
                entry.node.each_unread(report);
            } else {
                report(self, entry);
            }
        }
    }
}

impl Node {
    /// Marks all that stands beneath as read: what is wrong with the whole was said.
    pub(super) fn pass_over(&self) {
        match &self.value {
            Value::Table(table) => table.entries.iter().for_each(Entry::pass_over),
            Value::Array(items) => items.iter().for_each(Self::pass_over),
            Value::String(_)
            | Value::Integer(_)
            | Value::Boolean(_)
            | Value::Float
            | Value::Date(_) => {}
        }
    }

    fn each_unread(&self, report: &mut dyn FnMut(&Table, &Entry)) {
        match &self.value {
            Value::Table(table) => table.each_unread(report),
            Value::Array(items) => items.iter().for_each(|item| item.each_unread(report)),
            Value::String(_)
            | Value::Integer(_)
            | Value::Boolean(_)
            | Value::Float
            | Value::Date(_) => {}
        }
    }
}

impl From<DeTable<'_>> for Table {
    fn from(table: DeTable<'_>) -> Self {
        let entries = table
            .into_iter()
            .map(|(key, value)| Entry {
                key_start: key.span().start,
                key: key.into_inner().into_owned(),
                node: Node {
                    start: value.span().start,
                    value: value.into_inner().into(),
                },
                read: Cell::new(false),
            })
            .collect();
        Self {
            entries,
            asked: RefCell::default(),
        }
    }
}

impl From<DeValue<'_>> for Value {
    fn from(value: DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::String(text.into_owned()),
            DeValue::Integer(number) => {
                Self::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Boolean(flag) => Self::Boolean(flag),
            DeValue::Float(_) => Self::Float,
            DeValue::Datetime(time) => Self::Date(WallTime::from_toml(time)),
            DeValue::Array(items) => Self::Array(
                items
                    .into_iter()
                    .map(|item| Node {
                        start: item.span().start,
                        value: item.into_inner().into(),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Self::Table(table.into()),
        }
    }
}
