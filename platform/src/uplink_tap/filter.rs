//! The program that the kernel runs for each packet of an uplink, before anything is copied (linux/filter.h).
//!
//! It is made from the rules by which packets leave natively on purpose, so that what it lets pass is what no rule
//! explains. Our own packets, the mass of them, are told apart by the fourth instruction.

use std::net::IpAddr;

use ipnet::IpNet;
use tidegate_routing::plan::{Family, Mark, PortRange, Rule, Selector};

/// How much of a packet is taken: IPv4 with all options, or IPv6 with a few extensions, and the ports.
pub(super) const TAKEN: usize = 128;

/// One instruction of the classic packet filter (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    /// How many instructions to pass over if the comparison holds, and if not.
    pub(super) if_so: u8,
    pub(super) if_not: u8,
    pub(super) number: u32,
}

// Operation codes (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// The same at `X` + number.
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_BYTE_AT_X: u16 = 0x50;
const SET_X: u16 = 0x01;
/// `X` = four times the low half of a byte: the length of an IPv4 header.
const SET_X_TO_HEADER: u16 = 0xb1;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// What the kernel knows of a packet, addressed as if it stood in it (`SKF_AD_OFF` and what is added to it).
const WHICH_WAY: u32 = kernel_knows(4);
const PROTOCOL: u32 = kernel_knows(0);
const MARK: u32 = kernel_knows(20);

const fn kernel_knows(what: i32) -> u32 {
    (-0x1000 + what).cast_unsigned()
}

/// `PACKET_OUTGOING`
const OUTGOING: u32 = 4;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_IPV6: u32 = 0x86dd;
const ICMP: u32 = 1;
const ICMPV6: u32 = 58;
const IPV6_HEADER: u32 = 40;
const IPV6_FRAGMENT: u32 = 44;
/// Fragments but the first: their offset is not 0. They have no ports, only what looks like some.
const LATER_FRAGMENT_V4: u32 = 0x1fff;
const LATER_FRAGMENT_V6: u32 = 0xfff8;

/// What the kernel says by itself in ICMP: echo reply, unreachable, time exceeded, parameter problem, timestamp reply.
const ANSWERS_V4: [u32; 5] = [0, 3, 11, 12, 14];
/// First type of ICMPv6 that is no error (RFC 4443 section 2.1).
const FIRST_NO_ERROR: u32 = 128;
const ECHO_REPLY_V6: u32 = 129;
/// Neighbour discovery (RFC 4861): router solicitation to redirect. The kernel sends it past all rules.
const NEIGHBOUR_DISCOVERY: (u32, u32) = (133, 137);

/// A filter that lets outgoing IP packets pass which lack `own` and which none of the `native` rules lets out.
pub(super) fn program(own: Mark, native: &[Rule]) -> Vec<Instruction> {
    let (v4, v6) = (family(Family::V4, native), family(Family::V6, native));
    let over_v4 = u32::try_from(v4.len()).unwrap_or(u32::MAX);
    let mut program = vec![
        load(LOAD_WORD, WHICH_WAY),
        jump(IF_EQUAL, OUTGOING, 1, 0),
        reject(),
        load(LOAD_WORD, MARK),
        load(AND, own.mask),
        jump(IF_EQUAL, own.value, 0, 1),
        reject(),
        load(LOAD_WORD, PROTOCOL),
        jump(IF_EQUAL, ETHERTYPE_IPV4, 3, 0),
        jump(IF_EQUAL, ETHERTYPE_IPV6, 1, 0),
        reject(),
        load(JUMP, over_v4),
    ];
    program.extend(v4);
    program.extend(v6);
    program
}

/// The part for one family, from its first byte on, with the length of the header in `X` for all that follows.
fn family(family: Family, native: &[Rule]) -> Vec<Instruction> {
    let mut part = match family {
        Family::V4 => vec![
            load(LOAD_HALF, 6),
            jump(IF_ANY_BIT, LATER_FRAGMENT_V4, 0, 1),
            reject(),
            load(SET_X_TO_HEADER, 0),
        ],
        Family::V6 => vec![
            load(LOAD_BYTE, 6),
            jump(IF_EQUAL, IPV6_FRAGMENT, 0, 3),
            load(LOAD_HALF, IPV6_HEADER + 2),
            jump(IF_ANY_BIT, LATER_FRAGMENT_V6, 0, 1),
            reject(),
            load(SET_X, IPV6_HEADER),
        ],
    };
    for rule in native.iter().filter(|rule| rule.family == family) {
        part.extend(
            conditions(family, &rule.selector)
                .map(|group| all_of(&group))
                .unwrap_or_default(),
        );
    }
    part.extend(answers(family));
    part.push(load(RETURN, u32::try_from(TAKEN).unwrap_or(u32::MAX)));
    part
}

/// Rejects what the kernel answers by itself.
fn answers(family: Family) -> Vec<Instruction> {
    let types = |first: u32, last: u32| Condition {
        load: vec![load(LOAD_BYTE_AT_X, 0)],
        least: first,
        most: last,
    };
    let (protocol, ranges) = match family {
        Family::V4 => (ICMP, ANSWERS_V4.map(|kind| (kind, kind)).to_vec()),
        Family::V6 => (
            ICMPV6,
            vec![
                (0, FIRST_NO_ERROR - 1),
                (ECHO_REPLY_V6, ECHO_REPLY_V6),
                NEIGHBOUR_DISCOVERY,
            ],
        ),
    };
    ranges
        .into_iter()
        .flat_map(|(first, last)| all_of(&[of_protocol(family, protocol), types(first, last)]))
        .collect()
}

/// Something loaded that has to lie between two numbers.
struct Condition {
    load: Vec<Instruction>,
    least: u32,
    most: u32,
}

/// What a packet has to fulfil to be of this rule. None for a rule that asks for what a packet does not show: what leaves by
/// it is then reported rather than overlooked.
fn conditions(family: Family, selector: &Selector) -> Option<Vec<Condition>> {
    let Selector {
        not,
        mark,
        input,
        output,
        from,
        to,
        ip_protocol,
        source_ports,
        destination_ports,
    } = selector;
    let shown = !not
        && mark.is_none()
        && output.is_none()
        && input.as_deref().is_none_or(|input| input == "lo");
    if !shown {
        return None;
    }
    let (source, destination) = match family {
        Family::V4 => (12, 16),
        Family::V6 => (8, 24),
    };
    let mut conditions: Vec<Condition> = ip_protocol
        .iter()
        .map(|protocol| of_protocol(family, u32::from(*protocol)))
        .collect();
    conditions.extend(from.iter().flat_map(|net| within(*net, source)));
    conditions.extend(to.iter().flat_map(|net| within(*net, destination)));
    conditions.extend(source_ports.map(|ports| port_within(ports, 0)));
    conditions.extend(destination_ports.map(|ports| port_within(ports, 2)));
    Some(conditions)
}

fn of_protocol(family: Family, protocol: u32) -> Condition {
    let at = match family {
        Family::V4 => 9,
        Family::V6 => 6,
    };
    Condition {
        load: vec![load(LOAD_BYTE, at)],
        least: protocol,
        most: protocol,
    }
}

fn port_within(ports: PortRange, at: u32) -> Condition {
    Condition {
        load: vec![load(LOAD_HALF_AT_X, at)],
        least: ports.first.into(),
        most: ports.last.into(),
    }
}

/// The address at this place lies in the network: compared word by word, as far as the prefix reaches.
fn within(net: IpNet, at: u32) -> Vec<Condition> {
    let words = |address: IpAddr| -> Vec<u32> {
        match address {
            IpAddr::V4(v4) => vec![v4.to_bits()],
            IpAddr::V6(v6) => {
                let bytes = v6.octets();
                let words = bytes.chunks_exact(4).map(|word| {
                    word.iter()
                        .fold(0, |word, byte| word << 8 | u32::from(*byte))
                });
                words.collect()
            }
        }
    };
    let masked = words(net.network()).into_iter().zip(words(net.netmask()));
    let places = (at..).step_by(4);
    masked
        .zip(places)
        .filter(|((_, mask), _)| *mask != 0)
        .map(|((word, mask), at)| Condition {
            load: vec![load(LOAD_WORD, at), load(AND, mask)],
            least: word,
            most: word,
        })
        .collect()
}

/// Rejects a packet that fulfils all conditions; any other goes on behind.
fn all_of(conditions: &[Condition]) -> Vec<Instruction> {
    // From the last to the first, so that it is known how far the end is.
    let mut group = vec![reject()];
    for condition in conditions.iter().rev() {
        // A packet has few conditions of a few instructions, so the end is never 255 instructions away.
        let to_end = u8::try_from(group.len()).unwrap_or(u8::MAX);
        let mut checked = condition.load.clone();
        if condition.least == condition.most {
            checked.push(jump(IF_EQUAL, condition.least, 0, to_end));
        } else {
            checked.push(jump(
                IF_AT_LEAST,
                condition.least,
                0,
                to_end.saturating_add(1),
            ));
            checked.push(jump(IF_GREATER, condition.most, to_end, 0));
        }
        checked.append(&mut group);
        group = checked;
    }
    group
}

fn load(code: u16, number: u32) -> Instruction {
    jump(code, number, 0, 0)
}

fn jump(code: u16, number: u32, if_so: u8, if_not: u8) -> Instruction {
    Instruction {
        code,
        if_so,
        if_not,
        number,
    }
}

fn reject() -> Instruction {
    load(RETURN, 0)
}
