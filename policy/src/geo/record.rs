//! A record of any of the databases: what we look for, under the keys that they use.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::destination::{Continent, Country};

/// What was found, where it makes sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) country: Option<Country>,
    pub(super) continent: Option<Continent>,
    pub(super) system: Option<u32>,
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
                // MaxMind and DB-IP: a map with the code; IPinfo: the code; ip-location-db: `country_code`. Where the
                // code has a key of its own, the other's value may be a name.
                "country" => {
                    let said = map.next_value::<Value<'_>>()?.country();
                    record.country = record.country.or(said);
                }
                "country_code" => {
                    let said = map.next_value::<Value<'_>>()?.country();
                    record.country = said.or(record.country);
                }
                "continent" => {
                    let said = map.next_value::<Value<'_>>()?.continent();
                    record.continent = record.continent.or(said);
                }
                "continent_code" => {
                    let said = map.next_value::<Value<'_>>()?.continent();
                    record.continent = said.or(record.continent);
                }
                "autonomous_system_number" | "asn" => {
                    record.system = map.next_value::<Value<'_>>()?.number.or(record.system);
                }
                "autonomous_system_organization" | "as_name" => {
                    let text = map.next_value::<Value<'_>>()?.text;
                    record.organisation =
                        text.filter(|text| !text.is_empty()).or(record.organisation);
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

impl Value<'_> {
    fn country(self) -> Option<Country> {
        self.text.and_then(Country::parse)
    }

    fn continent(self) -> Option<Continent> {
        self.text.and_then(Continent::parse)
    }
}

impl<'a> Deserialize<'a> for Value<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor { is_within: false })
    }
}

struct ValueVisitor {
    /// Within a map already: one that stands in it is passed over.
    is_within: bool,
}

impl<'a> DeserializeSeed<'a> for ValueVisitor {
    type Value = Value<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Value<'a>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

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
            if !self.is_within && matches!(key, "iso_code" | "code") {
                let code = map.next_value_seed(Self { is_within: true })?;
                value.text = code.text.or(value.text);
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
