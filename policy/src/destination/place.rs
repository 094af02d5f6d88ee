//! Where an address is in use: country and continent, by their codes.

use std::fmt;

use serde::{Serialize, Serializer};

/// ISO 3166-1 alpha-2, and `XK` (Kosovo), which geographic databases use.
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO \
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW \
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM \
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";
/// Africa, Antarctica, Asia, Europe, North America, Oceania, South America.
const CONTINENTS: &str = "AF AN AS EU NA OC SA";

/// A country, by its two letters (ISO 3166-1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

/// A continent, by its two letters, as geographic databases write them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Continent([u8; 2]);

impl Country {
    /// The country of this code, in either case; none if there is no such country.
    pub fn parse(text: &str) -> Option<Self> {
        code_in(COUNTRIES, text).map(Self)
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Continent {
    /// The continent of this code, in either case; none if there is no such continent.
    pub fn parse(text: &str) -> Option<Self> {
        code_in(CONTINENTS, text).map(Self)
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn code_in(codes: &str, text: &str) -> Option<[u8; 2]> {
    let code: [u8; 2] = text.as_bytes().try_into().ok()?;
    let code = code.map(|letter| letter.to_ascii_uppercase());
    codes
        .split(' ')
        .any(|known| known.as_bytes() == code)
        .then_some(code)
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
    fn only_codes_that_are_given_out_are_read() {
        assert_eq!(COUNTRIES.split(' ').count(), 250);
        assert_eq!(Country::parse("de").unwrap().to_string(), "DE");
        for wrong in ["UK", "EU", "D", "DEU", "", "ZZ", "D ", " "] {
            assert_eq!(Country::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Continent::parse("eu").unwrap().to_string(), "EU");
        assert_eq!(Continent::parse("DE"), None);
    }
}
