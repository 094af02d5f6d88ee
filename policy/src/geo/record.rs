//! A record of any of the databases: what we look for, under the keys that they use.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What was found, as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) country: Option<&'a str>,
    pub(super) continent: Option<&'a str>,
    pub(super) number: Option<u32>,
    pub(super) organisation: Option<&'a str>,
}

impl<'a> Deserialize<'a> for Record<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'a> Visitor<'a> for RecordVisitor {
    type Value = Record<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Record<'a>, M::Error> {
        let mut record = Record::default();
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                // MaxMind and DB-IP: a map with the code; IPinfo: the code; ip-location-db: `country_code`.
                "country" | "country_code" => {
                    record.country = map.next_value::<Value<'_>>()?.text.or(record.country)
                }
                "continent" | "continent_code" => {
                    record.continent = map.next_value::<Value<'_>>()?.text.or(record.continent);
                }
                "autonomous_system_number" | "asn" => {
                    record.number = map.next_value::<Value<'_>>()?.number.or(record.number);
                }
                "autonomous_system_organization" | "as_name" => {
                    record.organisation =
                        map.next_value::<Value<'_>>()?.text.or(record.organisation);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(record)
    }
}

/// A value as a text or a number: itself, or what a map has under `iso_code` or `code`.
#[derive(Clone, Copy, Debug, Default)]
struct Value<'a> {
    text: Option<&'a str>,
    number: Option<u32>,
}

impl<'a> Deserialize<'a> for Value<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'a> Visitor<'a> for ValueVisitor {
    type Value = Value<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Value<'a>, E> {
        // `AS13335`, or `13335`.
        let digits = text.strip_prefix("AS").unwrap_or(text);
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        Ok(Value {
            text: Some(text),
            number: if is_number { digits.parse().ok() } else { None },
        })
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value<'a>, E> {
        Ok(Value {
            text: None,
            number: u32::try_from(number).ok(),
        })
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Value<'a>, M::Error> {
        let mut value = Value::default();
        while let Some(key) = map.next_key::<&str>()? {
            if matches!(key, "iso_code" | "code") {
                // One level down only: a map within it holds no code.
                value.text = map.next_value::<Text<'_>>()?.0;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(value)
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<Value<'a>, S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value<'a>, E> {
        Ok(Value::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value<'a>, E> {
        Ok(Value::default())
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Value<'a>, E> {
        Ok(Value::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value<'a>, E> {
        Ok(Value::default())
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Value<'a>, E> {
        Ok(Value::default())
    }
}

/// A text, or nothing where there is something else.
struct Text<'a>(Option<&'a str>);

impl<'a> Deserialize<'a> for Text<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'a> Visitor<'a> for TextVisitor {
    type Value = Option<&'a str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Option<&'a str>, E> {
        Ok(Some(text))
    }
}
