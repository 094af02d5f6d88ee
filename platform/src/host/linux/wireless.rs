//! The name of a wireless network (nl80211, linux/nl80211.h), asked for by generic netlink.

use std::sync::Arc;

use tidegate_policy::Fact;

use crate::netlink::attributes::{attribute, find};
use crate::netlink::{Connection, NetlinkError};

/// The family that tells the numbers of others (linux/genetlink.h): `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, and its attributes.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

const NL80211: &[u8] = b"nl80211\0";
/// `NL80211_CMD_GET_INTERFACE`, `NL80211_ATTR_IFINDEX`, `NL80211_ATTR_SSID`.
const GET_INTERFACE: u8 = 5;
const INTERFACE_INDEX: u16 = 3;
const SSID: u16 = 52;

/// Length of `struct genlmsghdr`.
const HEADER: usize = 4;

/// The name of the network that this interface is in. Absent where it is no radio, or in none.
pub(super) fn ssid(index: u32) -> Fact<Arc<str>> {
    match ask(index) {
        Ok(Some(name)) => Fact::Is(name),
        Ok(None) => Fact::Absent,
        // No such family, or no such interface in it: there is no radio.
        Err(error) if error.refusal().is_some() => Fact::Absent,
        Err(error) => {
            tracing::debug!(%error, "the name of the wireless network is not known");
            Fact::Unknown
        }
    }
}

fn ask(index: u32) -> Result<Option<Arc<str>>, NetlinkError> {
    let mut connection = Connection::generic()?;
    let mut family = None;
    let asked = request(GET_FAMILY, &attribute(FAMILY_NAME, NL80211));
    connection.query_raw(CONTROL, &asked, &mut |payload| {
        family = family_number(payload);
        Ok(())
    })?;
    let Some(family) = family else {
        return Ok(None);
    };
    let mut name = None;
    let asked = request(
        GET_INTERFACE,
        &attribute(INTERFACE_INDEX, &index.to_ne_bytes()),
    );
    connection.query_raw(family, &asked, &mut |payload| {
        name = network_name(payload);
        Ok(())
    })?;
    Ok(name)
}

fn request(command: u8, attributes: &[u8]) -> Vec<u8> {
    let version = 1;
    [&[command, version, 0, 0], attributes].concat()
}

fn family_number(payload: &[u8]) -> Option<u16> {
    let number = find(payload.get(HEADER..)?, FAMILY_ID)?;
    number.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Up to 32 bytes, which are nearly always UTF-8; others cannot be written in a rule.
fn network_name(payload: &[u8]) -> Option<Arc<str>> {
    let name = find(payload.get(HEADER..)?, SSID)?;
    let name = std::str::from_utf8(name).ok()?;
    (!name.is_empty()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sys::test_network::in_new_network;

    fn answer(attributes: &[Vec<u8>]) -> Vec<u8> {
        [&[7, 1, 0, 0][..], &attributes.concat()].concat()
    }

    #[test]
    fn a_name_is_found_among_what_is_said_of_an_interface() {
        let interface = [
            attribute(INTERFACE_INDEX, &7_u32.to_ne_bytes()),
            attribute(4, b"wlan0\0"),
            attribute(SSID, "Café".as_bytes()),
        ];
        assert_eq!(network_name(&answer(&interface)).as_deref(), Some("Café"));
        assert_eq!(network_name(&answer(&interface[..2])), None);
        assert_eq!(network_name(&answer(&[attribute(SSID, b"")])), None);
        assert_eq!(network_name(&answer(&[attribute(SSID, b"\xff\xfe")])), None);
    }

    #[test]
    fn a_family_has_a_number() {
        let family = [
            attribute(FAMILY_NAME, NL80211),
            attribute(FAMILY_ID, &33_u16.to_ne_bytes()),
        ];
        assert_eq!(family_number(&answer(&family)), Some(33));
        assert_eq!(family_number(&answer(&[attribute(FAMILY_ID, &[1])])), None);
    }

    #[test]
    fn an_interface_that_is_no_radio_is_in_no_wireless_network() {
        in_new_network(|| assert_eq!(ssid(1), Fact::Absent));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload: Vec<u8>) {
            family_number(&payload);
            network_name(&payload);
        }
    }
}
