//! Where an address is, and whose network: country, continent, autonomous system.
//!
//! Databases are MMDB files, as MaxMind, DB-IP, IPinfo and ip-location-db make them. Their records differ; what is known
//! under any of their keys is taken, the rest is passed over undecoded, and nothing is allocated. What a database does
//! not know, or says in a way that makes no sense, is unknown: a rule on it does not match. A record that cannot be
//! read is an error, never a panic.
//!
//! ```
//! use tidegate_policy::geo::Database;
//! use tidegate_policy::{Continent, Country};
//!
//! assert!(Database::open(b"no database").is_err());
//! let country = Country::parse("de").unwrap();
//! assert_eq!((country.as_str(), country.continent()), ("DE", Continent::parse("EU")));
//! ```

mod record;

use std::fmt;
use std::net::IpAddr;

use maxminddb::{MaxMindDbError, Reader};
use record::Record;

use crate::destination::{Continent, Country};

/// What is known about an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// The country that it is in.
    pub country: Option<Country>,
    /// The continent that it is on; that of the country, where the database does not say.
    pub continent: Option<Continent>,
    /// The number of the autonomous system that announces it.
    pub system: Option<u32>,
    /// Whose system it is, as the database writes it.
    pub organisation: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// What is known here, then what is known there: databases of countries and of systems are often apart.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            country: self.country.or(other.country),
            continent: self.continent.or(other.continent),
            system: self.system.or(other.system),
            organisation: self.organisation.or(other.organisation),
        }
    }

    fn from_record(record: &Record<'a>) -> Self {
        Self {
            country: record.country,
            continent: record
                .continent
                .or(record.country.and_then(Country::continent)),
            system: record.system,
            organisation: record.organisation,
        }
    }
}

/// Why a database cannot be used, or a record of it.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// No MMDB, or one that is cut or damaged in its frame.
    #[error("this is no MMDB file, or a damaged one: fetch it again")]
    NotADatabase(#[source] MaxMindDbError),
    /// One record is damaged.
    #[error("a record of the database is damaged: fetch it again")]
    Record(#[source] MaxMindDbError),
}

/// A database, in bytes that may be a file's that is mapped into memory. The file may be replaced, not changed.
pub struct Database<B: AsRef<[u8]>> {
    reader: Reader<B>,
}

impl<B: AsRef<[u8]>> Database<B> {
    /// Reads the database's frame.
    ///
    /// # Errors
    /// What is no MMDB.
    pub fn open(bytes: B) -> Result<Self, GeoError> {
        let reader = Reader::from_source(bytes).map_err(GeoError::NotADatabase)?;
        Ok(Self { reader })
    }

    /// What it calls itself, such as `GeoLite2-Country`.
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// When it was made, in seconds since 1970.
    pub fn made(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    /// What it knows about an address. One of IPv4 that is mapped into IPv6 is one of IPv4; a database of IPv4 alone
    /// knows nothing of IPv6.
    ///
    /// # Errors
    /// A damaged record.
    pub fn place(&self, address: IpAddr) -> Result<Place<'_>, GeoError> {
        let address = address.to_canonical();
        if address.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Ok(Place::default());
        }
        let found = self.reader.lookup(address).map_err(GeoError::Record)?;
        let record: Option<Record<'_>> = found.decode().map_err(GeoError::Record)?;
        Ok(record.map_or_else(Place::default, |record| Place::from_record(&record)))
    }
}

impl<B: AsRef<[u8]>> fmt::Debug for Database<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("kind", &self.kind())
            .field("made", &self.made())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
