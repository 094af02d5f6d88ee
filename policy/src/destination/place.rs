//! Where an address is in use: country and continent, by their codes.

use std::fmt;

use serde::{Serialize, Serializer};

/// ISO 3166-1 alpha-2, and `XK` (Kosovo), which geographic databases use: each continent with all its countries, in the
/// division that these databases use.
const COUNTRIES: [(Continent, &str); 7] = [
    (
        Continent(*b"AF"),
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG \
         RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    (Continent(*b"AN"), "AQ BV GS HM TF"),
    (
        Continent(*b"AS"),
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM PH \
         PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        Continent(*b"EU"),
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT \
         NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        Continent(*b"NA"),
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT US \
         VC VG VI",
    ),
    (
        Continent(*b"OC"),
        "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    ),
    (
        Continent(*b"SA"),
        "AR BO BR CL CO EC FK GF GY PE PY SR UY VE",
    ),
];

/// A country, by its two letters (ISO 3166-1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

/// A continent, by its two letters, as geographic databases write them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Continent([u8; 2]);

impl Country {
    /// The country of this code, in either case; none if there is no such country.
    pub fn parse(text: &str) -> Option<Self> {
        let code = code(text)?;
        let known = COUNTRIES.iter().any(|(_, countries)| has(countries, code));
        known.then_some(Self(code))
    }

    /// The continent that it is on.
    pub fn continent(self) -> Option<Continent> {
        let found = COUNTRIES
            .iter()
            .find(|(_, countries)| has(countries, self.0));
        found.map(|(continent, _)| *continent)
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Continent {
    /// The continent of this code, in either case; none if there is no such continent.
    pub fn parse(text: &str) -> Option<Self> {
        let continent = Self(code(text)?);
        let known = COUNTRIES.iter().any(|(known, _)| *known == continent);
        known.then_some(continent)
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Two letters as they are written in the table.
fn code(text: &str) -> Option<[u8; 2]> {
    let code: [u8; 2] = text.as_bytes().try_into().ok()?;
    Some(code.map(|letter| letter.to_ascii_uppercase()))
}

fn has(countries: &str, code: [u8; 2]) -> bool {
    countries.split(' ').any(|known| known.as_bytes() == code)
}

macro_rules! written_as_code {
    ($kind:ty) => {
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

written_as_code!(Country);
written_as_code!(Continent);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_country_is_on_one_continent() {
        let mut all = Vec::new();
        for (continent, countries) in COUNTRIES {
            for code in countries.split(' ') {
                let country = Country::parse(code).unwrap();
                assert_eq!(country.continent(), Some(continent), "{code}");
                all.push(country);
            }
        }
        all.sort_unstable();
        all.dedup();
        // ISO 3166-1 has 249; XK is Kosovo's in practice.
        assert_eq!(all.len(), 250);
    }

    #[test]
    fn only_codes_that_are_given_out_are_read() {
        assert_eq!(Country::parse("de").unwrap().to_string(), "DE");
        for wrong in ["UK", "EU", "D", "DEU", "", "ZZ", "D ", " "] {
            assert_eq!(Country::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Continent::parse("eu").unwrap().to_string(), "EU");
        assert_eq!(Continent::parse("DE"), None);
    }
}
