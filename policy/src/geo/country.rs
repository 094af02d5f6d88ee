//! Countries and continents by their codes.

use std::fmt;
use std::str::FromStr;

/// A country, by its code of two letters (ISO 3166-1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

/// A continent, in the division that these databases use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Continent {
    /// `AF`
    Africa,
    /// `AN`
    Antarctica,
    /// `AS`
    Asia,
    /// `EU`
    Europe,
    /// `NA`
    NorthAmerica,
    /// `OC`
    Oceania,
    /// `SA`
    SouthAmerica,
}

/// Which countries are where: continents with all their countries' codes.
const COUNTRIES: [(Continent, &str); 7] = [
    (
        Continent::Africa,
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG \
         RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    (Continent::Antarctica, "AQ BV GS HM TF"),
    (
        Continent::Asia,
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM PH \
         PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        Continent::Europe,
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT \
         NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        Continent::NorthAmerica,
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT US \
         VC VG VI",
    ),
    (
        Continent::Oceania,
        "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    ),
    (
        Continent::SouthAmerica,
        "AR BO BR CL CO EC FK GF GY PE PY SR UY VE",
    ),
];

/// No code of a country or continent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no code of two letters, such as DE or EU")]
pub struct NoSuchPlace;

impl Country {
    /// The continent that it is on; absent for codes of no country, such as `ZZ`.
    pub fn continent(self) -> Option<Continent> {
        let has = |codes: &str| {
            codes
                .as_bytes()
                .chunks(3)
                .any(|code| code.starts_with(&self.0))
        };
        let found = COUNTRIES.iter().find(|(_, codes)| has(codes));
        found.map(|(continent, _)| *continent)
    }
}

impl FromStr for Country {
    type Err = NoSuchPlace;

    fn from_str(text: &str) -> Result<Self, NoSuchPlace> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(NoSuchPlace),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Country({self})")
    }
}

const CONTINENTS: [(Continent, &str); 7] = [
    (Continent::Africa, "AF"),
    (Continent::Antarctica, "AN"),
    (Continent::Asia, "AS"),
    (Continent::Europe, "EU"),
    (Continent::NorthAmerica, "NA"),
    (Continent::Oceania, "OC"),
    (Continent::SouthAmerica, "SA"),
];

impl FromStr for Continent {
    type Err = NoSuchPlace;

    fn from_str(text: &str) -> Result<Self, NoSuchPlace> {
        let found = CONTINENTS
            .iter()
            .find(|(_, code)| code.eq_ignore_ascii_case(text));
        found.map(|(continent, _)| *continent).ok_or(NoSuchPlace)
    }
}

impl fmt::Display for Continent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = CONTINENTS.iter().find(|(continent, _)| continent == self);
        f.write_str(code.map_or("", |(_, code)| code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_country_is_on_one_continent() {
        let mut all = Vec::new();
        for (continent, codes) in COUNTRIES {
            for code in codes.split(' ') {
                let country: Country = code.parse().unwrap();
                assert_eq!(country.continent(), Some(continent), "{code}");
                all.push(country);
            }
        }
        all.sort_unstable();
        all.dedup();
        // ISO 3166-1 has 249; XK is Kosovo's in practice.
        assert_eq!(all.len(), 250);
        assert_eq!("ZZ".parse::<Country>().unwrap().continent(), None);
        assert!("D".parse::<Country>().is_err() && "D1".parse::<Country>().is_err());
    }

    #[test]
    fn codes_are_read_as_they_are_written() {
        for (continent, code) in CONTINENTS {
            assert_eq!(code.to_lowercase().parse(), Ok(continent));
            assert_eq!(continent.to_string(), code);
        }
        assert!("XX".parse::<Continent>().is_err());
    }
}
