//! Conditions on protocol and port: `tcp/443`, `udp/8000-9000`, `443`, `tcp/*`, `icmp`, `ip/47`.

use std::fmt;
use std::ops::RangeInclusive;

use crate::document::Refusal;
use crate::facts::Protocol;

/// A protocol with a range of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// Ports of TCP, `first..=last`.
    Tcp(u16, u16),
    /// Ports of UDP, `first..=last`.
    Udp(u16, u16),
    /// Ports of either.
    TcpOrUdp(u16, u16),
    /// ICMP and ICMPv6, which have no ports.
    Icmp,
    /// Another protocol, by its IP protocol number.
    Other(u8),
}

impl Port {
    /// Reads one entry of `port`.
    ///
    /// # Errors
    ///
    /// Anything but the forms above, a range that runs backwards, and `ip/` with the number of TCP, UDP or ICMP.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text == "icmp" {
            return Ok(Self::Icmp);
        }
        let (protocol, ports) = text.split_once('/').unwrap_or(("", text));
        let make = match protocol {
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "" if !text.starts_with('/') => Self::TcpOrUdp,
            "icmp" => return Err(Refusal::new("ICMP has no ports", "write \"icmp\"")),
            "ip" => return parse_protocol_number(ports),
            _ => return Err(not_a_port(text)),
        };
        let ports = parse_range(text, ports)?;
        Ok(make(*ports.start(), *ports.end()))
    }

    /// The ports of TCP that are meant, `first..=last`.
    pub fn tcp_range(&self) -> Option<(u16, u16)> {
        match *self {
            Self::Tcp(first, last) | Self::TcpOrUdp(first, last) => Some((first, last)),
            Self::Udp(..) | Self::Icmp | Self::Other(_) => None,
        }
    }

    /// The one protocol and port that are meant; 0 where the protocol has no ports.
    ///
    /// # Errors
    /// Several ports, or several protocols.
    pub fn one_service(&self) -> Result<(Protocol, u16), Refusal> {
        let hint = "write one service: tcp/443, udp/53, icmp, ip/47";
        match *self {
            Self::Tcp(first, last) if first == last => Ok((Protocol::Tcp, first)),
            Self::Udp(first, last) if first == last => Ok((Protocol::Udp, first)),
            Self::Icmp => Ok((Protocol::Icmp, 0)),
            Self::Other(number) => Ok((Protocol::Other(number), 0)),
            Self::Tcp(..) | Self::Udp(..) => {
                Err(Refusal::new("a flow has one port, not a range", hint))
            }
            Self::TcpOrUdp(..) => Err(Refusal::new("a flow has one protocol", hint)),
        }
    }

    /// Whether a flow of `protocol` to `port` is meant.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        match (*self, protocol) {
            (Self::Tcp(first, last), Protocol::Tcp)
            | (Self::Udp(first, last), Protocol::Udp)
            | (Self::TcpOrUdp(first, last), Protocol::Tcp | Protocol::Udp) => {
                (first..=last).contains(&port)
            }
            (Self::Icmp, Protocol::Icmp) => true,
            (Self::Other(own), Protocol::Other(number)) => own == number,
            (
                Self::Tcp(..) | Self::Udp(..) | Self::TcpOrUdp(..) | Self::Icmp | Self::Other(_),
                _,
            ) => false,
        }
    }
}

fn parse_range(text: &str, ports: &str) -> Result<RangeInclusive<u16>, Refusal> {
    if ports == "*" {
        return Ok(0..=u16::MAX);
    }
    let parse = |port: &str| {
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(not_a_port(text));
        }
        port.parse::<u16>()
            .map_err(|_| Refusal::new(format!("{port} is no port"), "ports end at 65535"))
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (parse(first)?, parse(last)?);
    if last < first {
        return Err(Refusal::new(
            format!("the range {first}-{last} runs backwards"),
            format!("write {last}-{first}"),
        ));
    }
    Ok(first..=last)
}

fn parse_protocol_number(number: &str) -> Result<Port, Refusal> {
    match number.parse::<u8>() {
        Ok(6) => Err(Refusal::new("IP protocol 6 is TCP", "write \"tcp/*\"")),
        Ok(17) => Err(Refusal::new("IP protocol 17 is UDP", "write \"udp/*\"")),
        Ok(1 | 58) => Err(Refusal::new("this IP protocol is ICMP", "write \"icmp\"")),
        Ok(number) => Ok(Port::Other(number)),
        Err(_) => Err(Refusal::new(
            format!("\"{number}\" is no IP protocol number"),
            "write ip/0 to ip/255",
        )),
    }
}

fn not_a_port(text: &str) -> Refusal {
    Refusal::new(
        format!("\"{text}\" is no port"),
        "write \"tcp/443\", \"udp/8000-9000\", \"443\" (TCP or UDP), \"tcp/*\", \"icmp\" or \"ip/47\"",
    )
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, first, last) = match *self {
            Self::Tcp(first, last) => ("tcp/", first, last),
            Self::Udp(first, last) => ("udp/", first, last),
            Self::TcpOrUdp(first, last) => ("", first, last),
            Self::Icmp => return f.write_str("icmp"),
            Self::Other(number) => return write!(f, "ip/{number}"),
        };
        match (first, last) {
            (0, u16::MAX) => write!(f, "{prefix}*"),
            _ if first == last => write!(f, "{prefix}{first}"),
            _ => write!(f, "{prefix}{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(port: &str, protocol: Protocol, number: u16) -> bool {
        Port::parse(port).unwrap().contains(protocol, number)
    }

    #[test]
    fn each_form_holds_what_it_says() {
        use Protocol::{Icmp, Other, Tcp, Udp};
        assert!(contains("tcp/443", Tcp, 443));
        assert!(!contains("tcp/443", Tcp, 444) && !contains("tcp/443", Udp, 443));
        assert!(contains("udp/8000-9000", Udp, 8000) && contains("udp/8000-9000", Udp, 9000));
        assert!(!contains("udp/8000-9000", Udp, 7999) && !contains("udp/8000-9000", Udp, 9001));
        assert!(
            contains("443", Tcp, 443) && contains("443", Udp, 443) && !contains("443", Icmp, 443)
        );
        assert!(
            contains("tcp/*", Tcp, 0)
                && contains("tcp/*", Tcp, 65535)
                && !contains("tcp/*", Udp, 1)
        );
        assert!(contains("*", Tcp, 1) && contains("*", Udp, 1) && !contains("*", Other(47), 0));
        assert!(contains("icmp", Icmp, 7) && !contains("icmp", Tcp, 7));
        assert!(contains("ip/47", Other(47), 0) && !contains("ip/47", Other(48), 0));
    }

    #[test]
    fn the_form_is_read_back_as_written() {
        for text in [
            "tcp/443",
            "udp/8000-9000",
            "443",
            "80-90",
            "tcp/*",
            "udp/*",
            "*",
            "icmp",
            "ip/47",
        ] {
            assert_eq!(Port::parse(text).unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(tcp|udp|icmp|ip|)[/]?[0-9*+ -]{0,8}") {
            if let Ok(port) = Port::parse(&text) {
                prop_assert_eq!(Port::parse(&port.to_string()), Ok(port));
            }
        }
    }
}
